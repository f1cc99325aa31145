// The entries of the catalogue, by symptom. An entry is short: what it means, why it happens, what to
// do. `./build/.../ivmq explain --markdown > docs/troubleshooting.md` brings the page up to date.
#ifndef IVMQ_TOOLS_IVMQ_CATALOGUE_ENTRIES_H_
#define IVMQ_TOOLS_IVMQ_CATALOGUE_ENTRIES_H_

#include "catalogue.h"

namespace ivmq::tool {

inline constexpr Entry kCatalogue[] = {
    // ---- A program cannot open its region ----
    {"no-region-file",
     Symptom::kCannotOpen,
     "There is no file at this address.",
     "Nobody has made the region yet, the name is spelled differently, or the machine was "
     "restarted: "
     "/dev/shm and /dev/hugepages are empty afterwards.",
     "Make it with `ivmq format ADDRESS --size 64M`, or correct the address. QEMU's mem-path= and "
     "the "
     "programs of the host have to name the same file.",
     {"there is no such file"}},
    {"no-folder",
     Symptom::kCannotOpen,
     "The folder of the file or socket does not exist.",
     "/run is empty after each start of the machine, so /run/ivmq has to be made again. The "
     "packages "
     "do that.",
     "Make it: `mkdir -p /run/ivmq`, as the user who starts ivmqd, or as root with `install -d -o "
     "USER "
     "-g GROUP -m 0755 /run/ivmq`.",
     {"the folder does not exist", "folder * does not exist"}},
    {"no-socket",
     Symptom::kCannotOpen,
     "No server has made this socket.",
     "ivmqd does not run, or it was started with another --socket.",
     "Start it: `ivmqd --socket PATH --size 64M`. `ivmq doctor` names the sockets of all servers "
     "that "
     "run here.",
     {"there is no such socket", "no server has created this socket"}},
    {"server-ended",
     Symptom::kCannotOpen,
     "The server that made the socket has ended.",
     "It was ended, or has crashed and nothing started it again. Peers that are attached go on "
     "without "
     "it; others cannot join.",
     "Start ivmqd again with the options it had. If a keeper or systemd kept its descriptors, it "
     "goes "
     "on where the last one stopped, and nobody notices.",
     {"nobody listens", "its server has ended", "its server ivmqd* has ended",
      "the server closed the connection"}},
    {"server-silent",
     Symptom::kCannotOpen,
     "The server does not answer.",
     "It is stopped (state T), it hangs, or it has ended and its keeper holds the socket for the "
     "next "
     "one.",
     "`ps -C ivmqd -o pid,stat,args`: if it is stopped, `kill -CONT PID`; if there is none, start "
     "it "
     "again: it goes on where the last one stopped.",
     {"the server does not accept connections", "the server is silent",
      "its server does not answer"}},
    {"server-refuses",
     Symptom::kCannotOpen,
     "The server lets this process in no more, and its log says why.",
     "ivmqd refuses a client whose user is not allowed, when no id is free, while it drains, or "
     "when "
     "the client may open too few files.",
     "Look for \"refused\" in the log (`journalctl -u ivmqd`), and explain that line.",
     {"the server refuses this client"}},
    {"not-permitted",
     Symptom::kCannotOpen,
     "The user may not use the file, socket or device.",
     "A peer reads and writes the region, so it needs both rights. Files and sockets belong to the "
     "group that ivmqd or `ivmq format` was given with --group.",
     "Join that group: `usermod -aG GROUP USER` as root, and log in again. `ivmq doctor ADDRESS` "
     "says "
     "who owns what, and which command helps.",
     {"the user * may not use it", "it belongs to uid", "a folder above it may not be entered",
      "only root may use it", "may not be used: *Permission denied"}},
    {"login-again",
     Symptom::kCannotOpen,
     "The user is a member of the group, but this login is older than that.",
     "A process gets its groups when its user logs in.",
     "Log in again, or start a shell with the group: `newgrp GROUP`. A service has to be "
     "restarted.",
     {"this process is older than the membership"}},
    {"missing-group",
     Symptom::kCannotOpen,
     "The group does not exist.",
     "The file, socket or device is given to a group that this machine does not have: it was not "
     "created, or it was removed and only its number is left.",
     "Create it as root: `groupadd --system ivmq`. Then give ivmqd `--group ivmq`, and for devices "
     "of a "
     "guest run `udevadm control --reload && udevadm trigger -s ivmq`.",
     {"there is no such group", "the group * does not exist", "which is no group of this machine"}},
    {"everybody-may-write",
     Symptom::kCannotOpen,
     "Every user of this machine may write to the region.",
     "Its file, socket or device has a mode that lets all others in. Whoever may write to a region "
     "can "
     "end or deceive its peers.",
     "`chmod o= PATH`, and give the group to those who need it.",
     {"everybody on this machine may write", "every user of this machine may connect"}},
    {"not-formatted",
     Symptom::kCannotOpen,
     "The memory is there, but no region has been made in it.",
     "QEMU makes the file of a plain device itself, filled with zeroes; a server other than ivmqd "
     "does "
     "the same.",
     "`ivmq format FILE` on the host, with the file that mem-path= names; it keeps its size. With "
     "a "
     "doorbell device, let ivmqd be the server.",
     {"not formatted"}},
    {"foreign-content",
     Symptom::kCannotOpen,
     "The file or memory holds something else than a region.",
     "The address names the wrong file, or another program uses the memory.",
     "Correct the address. ivmq never overwrites what it does not know: if nobody needs the file, "
     "remove it, and then run `ivmq format`.",
     {"is not an ivmq region", "is no ivmq region", "it is not a region, or a truncated one",
      "too small for a region", "the memory is not all zero"}},
    {"other-version",
     Symptom::kCannotOpen,
     "The region has a format that this program does not know.",
     "It was made by another release of ivmq. Releases with the same major format version work "
     "together.",
     "`ivmq --version` on the host and in each guest: install the same release, then format the "
     "region "
     "again with `--force`, or restart ivmqd with a new one.",
     {"the region has format version", "the region requires features"}},
    {"damaged-header",
     Symptom::kCannotOpen,
     "The region's header is damaged.",
     "Some process wrote over it, or the file was cut off.",
     "`ivmq fsck` on a copy of the file says what is left of it and can save messages. Then end "
     "all its "
     "peers and format it again: `ivmq format FILE --force`.",
     {"the region's header is damaged", "the file was truncated",
      "it was truncated, or it is not"}},
    {"wrong-kind",
     Symptom::kCannotOpen,
     "The address names something of another kind.",
     "A file was given as a socket, a socket or a folder as a file, or another PCI device.",
     "unix:PATH is a server's socket, file:PATH and shm:/NAME are files, pci:, ivmq: and vfio: are "
     "devices of a guest.",
     {"which cannot hold a region", "is no socket", "is not a stream socket",
      "not ivshmem (1af4:1110)", "is no node of the driver"}},
    {"wrong-address",
     Symptom::kCannotOpen,
     "The text is no address.",
     "An address begins with its scheme, and a path alone is not enough.",
     "Write unix:PATH, shm:/NAME, file:PATH, ivmq:/dev/ivmq0, vfio:BDF, pci:BDF, pci:auto or auto; "
     "`ivmq --help` explains them.",
     {"unknown scheme", "is no address: an address begins", "not a name of shared memory",
      "not a PCI address", "contains no path of a socket", "names no file; use file:PATH"}},
    {"abstract-socket",
     Symptom::kCannotOpen,
     "Abstract sockets (unix:@NAME) are refused.",
     "They have no owner and no permissions, so everybody on the machine could join the region.",
     "Use a path in a folder that only those may enter who shall join, such as "
     "/run/ivmq/ivmq.sock.",
     {"an abstract socket has no owner"}},
    {"path-too-long",
     Symptom::kCannotOpen,
     "The path of the socket is too long.",
     "Linux allows 107 bytes.",
     "Use a shorter one, such as /run/ivmq/ivmq.sock.",
     {"a socket's path has at most", "its path is too long for a keeper's socket"}},
    {"name-taken",
     Symptom::kCannotOpen,
     "Another peer has this name.",
     "A name belongs to one peer of a region at a time. The peer may be stopped: its name is free "
     "only "
     "when its death is confirmed.",
     "`ivmq ls` shows who has it. Take another name, or end that peer; in its machine, if its pid "
     "is not "
     "of this one.",
     {"the name '*' is held by slot"}},
    {"name-invalid",
     Symptom::kCannotOpen,
     "This cannot be the name of a peer.",
     "A name has 1 to 63 bytes of UTF-8, without blanks and control characters.",
     "Choose another one. An empty name in a script is often a variable that is not set.",
     {"a peer's name has 1 to", "a peer's name must"}},
    {"slots-taken",
     Symptom::kCannotOpen,
     "All places for peers are taken.",
     "A region has room for a fixed number of peers, and durable ones that are away keep theirs.",
     "`ivmq ls` shows them: end some, or `ivmq forget NAME` for those that will not return. Format "
     "the "
     "region with more: `--max-peers`.",
     {"peer slots are taken", "slots are taken", "no slot could be claimed"}},
    {"region-lost",
     Symptom::kCannotOpen,
     "The processes are in a region that nobody can join any more.",
     "Its server has ended, and its memory (a memfd) is in no file, so the next server made a new "
     "region. Those who are in the old one reach each other, but nobody who starts now.",
     "Start them again: processes of the host with `kill`; a guest has to be shut down and its "
     "QEMU "
     "started again, since a reboot keeps the memory. To avoid it, leave the keeper on (no "
     "--no-keeper), or use --region shm:/NAME.",
     {"nobody can join this region any more", "in a region that nobody can join any more"}},
    {"memory-read-only",
     Symptom::kCannotOpen,
     "The memory does not keep what is written to it.",
     "QEMU was given readonly=on for the memory backend of the device (or rom=on), so each write "
     "of "
     "the guest vanishes.",
     "Start QEMU with `-object memory-backend-file,...,share=on` and without readonly=on. A peer "
     "has to "
     "write, also one that only receives.",
     {"the memory does not keep what is written"}},
    {"no-space",
     Symptom::kCannotOpen,
     "There is no room for the region.",
     "All of it is allocated at once, so that no peer is ended later for want of memory.",
     "Free some, choose a smaller --size, or reserve huge pages: `sysctl vm.nr_hugepages=N`.",
     {"no space for", "too few huge pages", "whoever touches more may be ended"}},
    {"size-no-power-of-two",
     Symptom::kCannotOpen,
     "The size of a region is a power of two.",
     "A guest sees it as a PCI BAR, which has no other sizes.",
     "Use the size that the message proposes, such as 64M or 1G.",
     {"the size must be a power of two"}},

    // ---- ivmqd does not start, or refuses somebody ----
    {"socket-in-use",
     Symptom::kServer,
     "Another process has the socket.",
     "A server runs with this --socket already, or one is just starting: it has locked PATH.lock.",
     "End the other one, use `--upgrade` to replace it without its clients noticing, or give "
     "another "
     "path.",
     {"a running process has this socket", "has a lock on",
      "cannot determine whether a server uses it"}},
    {"socket-path-taken",
     Symptom::kServer,
     "There is something else at the path of the socket.",
     "A file or folder has that name. ivmqd removes only sockets that nobody listens on.",
     "Give another path, or remove what is there.",
     {"there is something that is no socket", "is no socket, so no server can"}},
    {"folder-not-writable",
     Symptom::kServer,
     "The user may make no socket in this folder.",
     "ivmqd makes its socket, a lock and its control socket there, and removes them at its end.",
     "Give the folder to the user that runs ivmqd: `install -d -o USER -m 0755 FOLDER` as root, or "
     "use "
     "another folder.",
     {"making the lock file *Permission denied", "may make no socket in"}},
    {"region-in-use",
     Symptom::kServer,
     "Somebody uses the region.",
     "A server, its keeper or a peer holds a lock on the file, or the peer table names peers that "
     "live "
     "in guests.",
     "End them first: `ivmq ls` and `ivmq doctor` name them. If a table names peers whose machines "
     "are "
     "gone, remove the file.",
     {"another server has it, or the keeper", "a peer or a server is attached to the region",
      "attached to the region, as its peer table says"}},
    {"region-exists",
     Symptom::kServer,
     "The file is a region already.",
     "Formatting it again loses its messages, so that has to be asked for.",
     "Use it as it is, or `ivmq format FILE --force`.",
     {"the file is an ivmq region already"}},
    {"region-differs",
     Symptom::kServer,
     "The region was made with other options.",
     "Size and number of peers are fixed when a region is formatted.",
     "Start ivmqd with the options that the message names, or remove the file if nobody needs its "
     "messages.",
     {"it is an ivmq region created with --size", "it has * bytes and --size is",
      "the file has * already, not", "are connected to one with"}},
    {"wrong-memory",
     Symptom::kServer,
     "The machine does not have the memory that ivmqd was asked for.",
     "--numa-node or --hugepages asks for memory that this node, file system or kernel does not "
     "offer.",
     "Use a node that the message names, a hugetlbfs that is mounted with that pagesize=, or "
     "memfd.",
     {"no node of this number has memory here", "the file is on a disk",
      "that is mounted with pagesize="}},
    {"keeper-differs",
     Symptom::kServer,
     "What was kept of the last server cannot be taken over.",
     "Another version of ivmqd, another user or other options started the last one.",
     "Start it as it was started, or give its clients up: end them, and start with --no-takeover.",
     {"the keeper of a former server", "another user's process listens there",
      "no keeper that this ivmqd knows", "keeps the descriptors of a former server's clients",
      "the last server's region was not kept"}},
    {"too-few-files",
     Symptom::kServer,
     "A process may open too few files for the doorbells of all peers.",
     "Each client has a descriptor for each vector of each other client: ids x vectors + 128.",
     "Raise its limit: `prlimit --pid PID --nofile=65536`, `ulimit -n`, or LimitNOFILE= of its "
     "unit. Or "
     "start ivmqd with fewer --vectors.",
     {"it may open only", "server may open only", "may open * files*, too few",
      "may open too few files", "raise the limit of open files",
      "a file descriptor that the server sent was lost"}},
    {"user-not-allowed",
     Symptom::kServer,
     "ivmqd does not let this user in.",
     "It was started with --allow-uid, and the user is not among them.",
     "Add `--allow-uid UID`; root and the user of ivmqd are always allowed.",
     {"its user is not among --allow-uid"}},
    {"draining",
     Symptom::kServer,
     "ivmqd lets nobody in at the moment.",
     "`ivmq server drain` said so.",
     "`ivmq server undrain ADDRESS`.",
     {"newcomers are refused until"}},
    {"ids-used-up",
     Symptom::kServer,
     "The user or the process has as many ids as it may have.",
     "An id stays taken as long as any process has the region by it, also without a connection.",
     "`ivmq server clients ADDRESS` shows who has them. End what is not needed, or raise "
     "--ids-per-uid.",
     {"ids that one user may have", "the most that one process may have", "no unused id is left"}},
    {"no-control-socket",
     Symptom::kServer,
     "`ivmq server` does not reach ivmqd.",
     "It asks at a socket of its own, PATH.control, which only root and the user of ivmqd may use.",
     "Run it as that user or through sudo; give `--control PATH` if the server was given one; the "
     "log of "
     "ivmqd says whether it has one.",
     {"there is no control socket", "only root and the server's own user may use it"}},

    // ---- A guest does not find or use its device ----
    {"no-device",
     Symptom::kDevice,
     "This machine has no ivshmem device, and no server runs here.",
     "A guest needs a device of QEMU, a host a server or a file.",
     "In a guest: `-device ivshmem-doorbell` or `-device ivshmem-plain` on QEMU's command line. On "
     "a "
     "host: start ivmqd, or name the region.",
     {"has no ivshmem device", "neither an ivshmem device", "no PCI device has this address"}},
    {"no-driver",
     Symptom::kDevice,
     "The device works, but without the driver ivmq it can only poll.",
     "Interrupts need a driver: ivmq.ko, or vfio-pci for one process.",
     "`modprobe ivmq`, after installing the package ivmq-dkms or running the installer for guests, "
     "ivmq-guest-VERSION.sh.",
     {"no driver: polling only", "no driver has the device", "load the driver (modprobe ivmq)",
      "no ivshmem device has this node", " has no driver*give it to vfio-pci"}},
    {"other-driver",
     Symptom::kDevice,
     "Another driver has the device.",
     "Other programs use ivshmem devices, too, such as Looking Glass (kvmfr) or uio.",
     "If that program is not needed: `echo BDF > /sys/bus/pci/devices/BDF/driver/unbind`, then "
     "`echo BDF "
     "> /sys/bus/pci/drivers/ivmq/bind`. Otherwise give the guest a device of its own for ivmq.",
     {"belongs to the driver", "has the device; so it is", "while the driver * owns the device"}},
    {"other-device",
     Symptom::kDevice,
     "This ivshmem device is not one of ivmq.",
     "Its memory holds no region, or another program's driver has it, while another device of this "
     "machine has a region.",
     "Nothing. If it should be one, format its memory on the host.",
     {"left alone: its memory holds no region", "left alone: belongs to"}},
    {"no-node",
     Symptom::kDevice,
     "The driver has the device, but /dev has no node for it.",
     "udev does not run, or /dev is not a devtmpfs, as in some containers.",
     "`udevadm trigger -s ivmq`, or `mount -t devtmpfs none /dev`. Pass the node into a container.",
     {"is bound to it, but there is no"}},
    {"no-bar2-addresses",
     Symptom::kDevice,
     "The kernel gave the device's memory no addresses.",
     "The PCI bridge above it has too small a window, as with hotplug on q35.",
     "`-device pcie-root-port,...,pref64-reserve=SIZE` of QEMU, with a SIZE of at least that of "
     "the "
     "region.",
     {"gave its memory, BAR2, no addresses: no space", "the kernel gave this BAR no addresses"}},
    {"address-width",
     Symptom::kDevice,
     "The device's memory lies beyond what the guest's processor can address.",
     "A large BAR2 is aligned to its size, and QEMU's processor has 40 bits unless it is told "
     "otherwise.",
     "`-cpu host,host-phys-bits=on` of QEMU (with KVM), or `-cpu ...,phys-bits=N`; or a smaller "
     "region.",
     {"bits that this machine can address"}},
    {"device-disabled",
     Symptom::kDevice,
     "The device is switched off.",
     "Something wrote 0 to its file `enable`, or no driver has enabled it and this user may not.",
     "As root: `echo 1 > /sys/bus/pci/devices/BDF/enable`.",
     {"is disabled (its memory is not decoded)"}},
    {"old-device",
     Symptom::kDevice,
     "The device is of a kind from before QEMU 2.6.",
     "Its registers are others.",
     "Use `-device ivshmem-plain` or `-device ivshmem-doorbell` of a newer QEMU.",
     {"revision 0"}},
    {"no-vector",
     Symptom::kDevice,
     "None of the device's interrupts works.",
     "The kernel had no vectors left, or MSI-X is switched off (pci=nomsi).",
     "`dmesg | grep ivmq` says which; give the device fewer vectors, or the machine an IOAPIC with "
     "MSI.",
     {"none of its vectors works", "has no vector for this process"}},
    {"bus-master-off",
     Symptom::kDevice,
     "The device may not send interrupts.",
     "Its bus-master bit is off: a driver that was bound before left it so.",
     "`setpci -s BDF COMMAND=4:4` as root, or bind the driver again.",
     {"bus mastering is off"}},
    {"several-devices",
     Symptom::kDevice,
     "Several devices, or none, can be meant by `auto`.",
     "`auto` takes the one device whose region is formatted.",
     "Name it: `ivmq doctor` lists them with their addresses. Or set IVMQ_ADDRESS.",
     {"several ivshmem devices have an ivmq region",
      "no ivshmem device of this machine has an ivmq"}},
    {"no-iommu",
     Symptom::kDevice,
     "vfio cannot use the device without an IOMMU.",
     "The guest has no virtual IOMMU, it does not remap interrupts, or other devices share its "
     "group.",
     "`-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on` of QEMU, and "
     "intel_iommu=on for "
     "the guest's kernel. Or use the driver ivmq, which needs none.",
     {"in no IOMMU group", "the IOMMU does not remap interrupts",
      "other devices of this IOMMU group", "offers no type 1 IOMMU"}},
    {"one-process",
     Symptom::kDevice,
     "Over vfio, a device belongs to one process at a time.",
     "The kernel gives the device to whoever opens it first.",
     "End the other process, or use the driver ivmq, which any number of processes can share.",
     {"over vfio a device belongs to one process", "not inspected, since no other process"}},
    {"one-emulated-processor",
     Symptom::kDevice,
     "This emulated machine has one processor, and its atomic operations are not atomic for "
     "others.",
     "With a single possible processor, QEMU's emulation (TCG) executes locked instructions and "
     "fences "
     "as plain ones. Other processes of the host then lose what they write, and wake-ups get lost.",
     "`-smp 1,maxcpus=2` of QEMU, or more processors, or KVM. thread=single of TCG must not be "
     "used.",
     {"one possible processor"}},
    {"old-driver",
     Symptom::kDevice,
     "The driver is older than the library needs.",
     "The package of the driver was not updated with the rest, or the old module is still loaded.",
     "`rmmod ivmq && modprobe ivmq` when no process uses it.",
     {"the driver's interface is of version"}},
    {"device-gone",
     Symptom::kDevice,
     "The device was taken away, or the machine was cloned or restored.",
     "It was unplugged, given to another driver, or has another id than before. The node has "
     "ended, so "
     "that it writes nothing into what belongs to others.",
     "Open the node again. If a machine is restored from a snapshot on purpose, that is all.",
     {"the driver has detached it", "this guest takes the device away", "was restored or cloned"}},

    // ---- Messages or calls do not arrive ----
    {"no-such-peer",
     Symptom::kNothingArrives,
     "No peer has this name.",
     "It has not joined yet, has left, joined another region, or has another name.",
     "`ivmq ls` shows who is there. `--await TIME` waits for it to come.",
     {"no peer is named", "no live peer named", "no durable peer is named",
      "nobody waits for a live peer", "is neither the name of a peer"}},
    {"peer-left",
     Symptom::kNothingArrives,
     "The peer has left or died.",
     "A sender follows its name: when it is back, the next send reaches its new life.",
     "Start the peer again. To keep messages for it while it is away, let it be durable.",
     {"has left the region", "has no receiver: its life has ended",
      "is dead; its slot is being reclaimed"}},
    {"peer-away",
     Symptom::kNothingArrives,
     "A durable peer is away.",
     "Its slot, and what is sent to it, are kept until it returns.",
     "Start it again under its name, or `ivmq forget NAME` if it will not return.",
     {"is durable and away", "nobody can answer", "in slot * is * end it first"}},
    {"peer-still",
     Symptom::kNothingArrives,
     "The peer's heartbeat has stopped.",
     "The process or its machine is stopped (Ctrl-Z, a debugger, a paused guest), or gets no "
     "processor "
     "time.",
     "`ps -o pid,stat,args -p PID` on its machine: T is stopped, `kill -CONT PID` lets it go on. "
     "`info "
     "status` of QEMU's monitor says whether a guest is paused.",
     {"its heartbeat has stopped"}},
    {"peer-disconnected",
     Symptom::kNothingArrives,
     "A peer has lost its connection to ivmqd.",
     "ivmqd was restarted without what it had, or has evicted the client. The peer still has the "
     "region, but does not learn of new doorbells.",
     "A process of the host connects again by itself; a guest needs its QEMU started again. The "
     "log of "
     "ivmqd says when and why.",
     {"its connection to ivmqd has ended", "the connection to the server was lost",
      "has no connection any more"}},
    {"peers-apart",
     Symptom::kNothingArrives,
     "Peers cannot wake each other, so they look for messages every millisecond.",
     "They have the doorbells of different servers: one came before a server ended, the other "
     "after.",
     "It works, only slower. Start the one that came first again; for a guest, shut it down and "
     "start its "
     "QEMU again: a reboot is not enough.",
     {"cannot wake each other", "cannot wake, nor be woken by"}},
    {"foreign-server",
     Symptom::kNothingArrives,
     "The server is not ivmqd.",
     "QEMU's ivshmem-server hands out memory and doorbells, but does not confirm deaths, so the "
     "names "
     "of peers that died stay taken.",
     "Use ivmqd in its place; it speaks the same protocol.",
     {"its server is not ivmqd", "which is no id of a client", "it is not an ivshmem server"}},
    {"ring-full",
     Symptom::kNothingArrives,
     "The receiver does not keep up: the ring to it is full.",
     "It is slow, stopped, or does not poll. What was accepted before is not lost.",
     "`ivmq top` shows the fill of each ring and whether the receiver lives. Wait longer "
     "(`--wait`, "
     "WhenFull::kWait), drop by choice, or format the region with larger rings.",
     {"its ring is full", "found too little room in the ring", "the ring is full",
      "was not sent within its timeout"}},
    {"no-answer",
     Symptom::kNothingArrives,
     "The peer is there and does not answer.",
     "It sends no pings back, or is busy with something else.",
     "`ivmq ping` needs a peer that echoes, such as `ivmq recv --name NAME --echo`.",
     {"did not answer within"}},
    {"arena-full",
     Symptom::kNothingArrives,
     "The region has no room for another ring.",
     "Each pair of peers that talk has a ring of its own, and all rings are in the region.",
     "`ivmq info` shows the use. Format a larger region, with smaller first rings (--ring-size), "
     "or end "
     "peers that are not needed.",
     {"found no room for a ring in the arena"}},
    {"message-too-large",
     Symptom::kNothingArrives,
     "The message is larger than sender or receiver allow.",
     "Both have a limit, max_message_bytes of NodeOptions.",
     "Raise it at both ends, or send the content in parts.",
     {"is larger than max_message_bytes", "the message is larger than the limit",
      "is refused: the limit here is", "is dropped: the limit here is"}},
    {"pair-in-use",
     Symptom::kNothingArrives,
     "Something else is sending to that peer.",
     "An exclusive sender, a batch or a loan owns the pair until it ends.",
     "Share one sender between the threads, or end the batch first.",
     {"found the pair in use", "has the pair to"}},
    {"no-service",
     Symptom::kNothingArrives,
     "Nobody offers this service or method.",
     "The server has not started, registered another service, or the name lacks its package.",
     "`ivmq ls --services` and `ivmq call PEER` show what is offered.",
     {"no live peer offers", "offers no '", "has no method '", "is no service"}},
    {"no-definitions",
     Symptom::kNothingArrives,
     "The tool does not know the messages of the service.",
     "The server was built without reflection, or the program has no code for a message.",
     "Give the files: `--proto FILE -I FOLDER`.",
     {"does not say how its services are defined", "do not define",
      "this program has no code for it"}},
    {"vectors-differ",
     Symptom::kNothingArrives,
     "Device and ivmqd have different numbers of vectors.",
     "Vectors that only one of them has are of no use, and who is woken by one of those has to "
     "poll.",
     "Give both the same number: vectors= of QEMU's device, and --vectors of ivmqd.",
     {"those from * on cannot be rung"}},
    {"lost-doorbells",
     Symptom::kNothingArrives,
     "Messages arrived that no doorbell announced.",
     "A doorbell got lost: bus mastering is off, a peer rings over a dead connection, or an "
     "emulated "
     "machine has a single processor. A receiver finds such messages once a second by itself.",
     "`ivmq doctor` on the host and in each guest names the cause. If it names none, this is a bug "
     "worth "
     "a report.",
     {"for which no doorbell had arrived"}},

    // ---- It works, but slowly, or takes much processor time ----
    {"polling-only",
     Symptom::kSlow,
     "Receivers poll, since the device has no interrupts.",
     "A plain device is memory and nothing else.",
     "Use `-device ivshmem-doorbell` with ivmqd behind its chardev, and the driver in the guest.",
     {"polling only"}},
    {"uncached",
     Symptom::kSlow,
     "The memory is mapped uncached, so each access goes to it: some hundred times slower.",
     "The mapping is one of sysfs without the driver, or the firmware marks everything below 4 GiB "
     "uncached (MTRR), where the machine `pc` puts BAR2.",
     "Load the driver. With the machine `pc`, put BAR2 above 4 GiB: `-machine q35 -device "
     "pcie-root-port,id=rp0,chassis=1,slot=1,pref64-reserve=4G -device ivshmem-...,bus=rp0`.",
     {"mapping: uncached", "marks BAR2 uncached"}},
    {"cache-unknown",
     Symptom::kSlow,
     "Nobody can tell here whether the memory is cached.",
     "Under emulation (TCG) all memory is equally fast.",
     "Nothing. With KVM, run `ivmq doctor` again.",
     {"whether it is cached is unknown"}},
    {"vectors-shared",
     Symptom::kSlow,
     "Processes share interrupts and wake together.",
     "There are more processes in the guest than the device has vectors.",
     "`-device ivshmem-doorbell,...,vectors=64` of QEMU, and `ivmqd --vectors 64`.",
     {"all vectors are taken"}},
    {"small-pages",
     Symptom::kSlow,
     "A large region lies in pages of 4 KiB.",
     "Address translation then takes part of the time.",
     "Reserve huge pages and put the region there: `sysctl vm.nr_hugepages=N`, then a file in "
     "/dev/hugepages.",
     {"in pages of 4 KiB"}},

    // ---- Something is lost, or a program ends ----
    {"life-over",
     Symptom::kLost,
     "The node has ended, since others took it for dead or its process was forked.",
     "Its device or memory was taken away, its machine was reset or cloned, or a child uses its "
     "parent's node. It sends and receives nothing any more, so that it harms nobody.",
     "Open a new node; in a child, one of its own.",
     {"the life of this node", "belongs to the parent process", "took this process for dead"}},
    {"damaged-ring",
     Symptom::kLost,
     "A ring was damaged and has been given up; a new one follows.",
     "Some process wrote to memory that is not its own. What was unread in the ring is lost, and "
     "that "
     "is reported.",
     "Find the writer: a region is one domain of trust. `ivmq dump` and `ivmq fsck` show what is "
     "damaged.",
     {"is given up:", "was given up by its consumer", "cannot be written any more", "damaged rings",
      "this node's heap is given up"}},
    {"message-lost",
     Symptom::kLost,
     "A large message is lost.",
     "Its sender or its receiver ended midway, or it did not go on for two seconds while others "
     "needed "
     "the memory.",
     "Send it again. The sender got an error, unless it had sent all of it.",
     {"is lost: its sender stopped", "is lost: a former life"}},
    {"reports-missing",
     Symptom::kLost,
     "Some reports of the node were dropped.",
     "on_report was slower than they came, or threw an exception.",
     "Make on_report quicker: it may only write a log line or pass the report on.",
     {"reports are missing"}},
    {"output-closed",
     Symptom::kLost,
     "The output cannot be written.",
     "Who reads it has ended, or the disk is full. A durable receiver gets the message again.",
     "Run it again with an output that takes everything.",
     {"cannot write to standard output", "the output cannot be written"}},

    // ---- A command ends with another status than 0 ----
    {"exit-1", Symptom::kStatus,
     "The command failed: no permission, no ivmq region, the peer went away.",
     "The line that it printed says what, and `ivmq explain` what to do about it.",
     "`ivmq explain 'THE LINE'`, or `ivmq doctor ADDRESS`. From `ivmq doctor` itself, 1 means that "
     "it "
     "found a problem."},
    {"exit-2",
     Symptom::kStatus,
     "The command was not written correctly.",
     "A word is missing, too many, unknown or out of range. Nothing was done.",
     "`ivmq COMMAND --help` shows how it is written, with examples.",
     {"--help`", "no command given", "too few arguments", "unexpected argument",
      "is required; see"}},
    {"exit-3", Symptom::kStatus, "The region, server or peer is not there.",
     "It has not been started, or has another name.",
     "`ivmq doctor` for regions and servers, `ivmq ls` for peers."},
    {"exit-4",
     Symptom::kStatus,
     "The time was over: no answer, message, subscriber, ring or room came.",
     "--timeout, --await or --wait said how long to wait.",
     "Wait longer, or see with `ivmq top` what the other side does.",
     {"nothing came within"}},
    {"exit-5",
     Symptom::kStatus,
     "`ivmq send --drop` dropped messages.",
     "The ring to the receiver was full.",
     "`--wait TIME` instead of `--drop` waits for room.",
     {"messages dropped"}},
    {"exit-6", Symptom::kStatus, "`ivmq dump` or `ivmq fsck` found damage in the region.",
     "Some process wrote over memory that is not its own, or a crash left it so.",
     "They name each place. Peers repair what is theirs when they go on; for the rest, see `ivmq "
     "fsck "
     "--help`."},
    {"exit-65-80", Symptom::kStatus, "`ivmq call`: the call ended with an error of the service.",
     "The status is 64 plus the number of the code: 65 CANCELLED, 66 UNKNOWN, 67 INVALID_ARGUMENT, "
     "68 "
     "DEADLINE_EXCEEDED, 69 NOT_FOUND, 70 ALREADY_EXISTS, 71 PERMISSION_DENIED, 72 "
     "RESOURCE_EXHAUSTED, 73 "
     "FAILED_PRECONDITION, 74 ABORTED, 75 OUT_OF_RANGE, 76 UNIMPLEMENTED, 77 INTERNAL, 78 "
     "UNAVAILABLE, 79 "
     "DATA_LOSS, 80 UNAUTHENTICATED.",
     "The message is the service's own."},
    {"exit-130", Symptom::kStatus, "The command was interrupted before it had done all.",
     "SIGINT (Ctrl-C) or SIGTERM came before the requested COUNT was reached.",
     "Nothing, if that was meant."},
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_CATALOGUE_ENTRIES_H_
