/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR Apache-2.0 */
/*
 * ivmq.h - the interface of the ivmq driver for ivshmem devices
 *
 * A device is /dev/ivmqN. Its shared memory is mapped with mmap() from offset
 * 0 on, MAP_SHARED, write-back cached. Rings (doorbells) of other peers arrive
 * at vectors that an open file has allocated: each goes to the vector's
 * eventfd, or is counted for read() and poll().
 *
 * read() of 8 bytes or more returns the number of interrupts since the last
 * read() as a __u64, like an eventfd. It blocks while that is 0, unless the file
 * is O_NONBLOCK (EAGAIN) or has no vector whose rings are counted (EINVAL, also
 * if the last such vector is freed while it blocks). Several rings may become one
 * interrupt. A ring that arrived before the vector was allocated is lost: check
 * the memory once after IVMQ_IOC_ALLOC_VECTOR.
 *
 * poll() reports POLLIN while there are interrupts to read, and POLLHUP | POLLERR
 * once the open file is over. There are three causes: the device has been removed;
 * this machine is a clone of another one, restored from a snapshot, and the kernel
 * has detected that; or the device has another ivposition than before, so rings for
 * the old one do not arrive here. The driver checks the ivposition when the machine
 * resumes, after a reset of the device, and (as of API version 3) at each
 * IVMQ_IOC_INFO and IVPCI_IOC_IVPOSITION and at the first other ioctl after the
 * server_epoch in the region has changed. A process that needs to know calls
 * IVMQ_IOC_INFO from time to time.
 *
 * When a file is over, every bound eventfd has been signalled once, reads and
 * ioctls return ENODEV, and its mapping no longer shows the region, but memory of
 * this open file alone, which begins as zeroes (as of API version 2; before,
 * touching it raised SIGBUS). So a process finds 0 in the life word of its slot.
 * After a removal its slots have been marked dead. Otherwise they stay as they are:
 * those of a clone are the original's, and those of the old ivposition may belong
 * to another process. A clone, or a process whose device has a new ivposition, may
 * open the device again.
 *
 * Errors of all ioctls: ENOTTY, no such ioctl; EFAULT, bad pointer; ENODEV,
 * the open file is over; EINVAL also for reserved fields that are not 0.
 */
#ifndef _UAPI_IVMQ_H
#define _UAPI_IVMQ_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** IVMQ_API_VERSION - grows by one with each addition to this file */
#define IVMQ_API_VERSION	3

/** IVMQ_VECTOR_LIMIT - doorbells exist for vectors 0..255; QEMU uses 8 bits */
#define IVMQ_VECTOR_LIMIT	256

/** IVMQ_USER_LIMIT - most open files that have a vector at the same time */
#define IVMQ_USER_LIMIT		64

/** IVMQ_SLOT_LIMIT - most slots that one open file registers */
#define IVMQ_SLOT_LIMIT		16

/** IVMQ_NO_IVPOSITION - the ivposition of a device that has none (a plain one) */
#define IVMQ_NO_IVPOSITION	0xffff

/* Bits of ivmq_info.flags */

/** IVMQ_INFO_DOORBELL - the device can ring peers and be rung */
#define IVMQ_INFO_DOORBELL		(1U << 0)
/**
 * IVMQ_INFO_FIRMWARE_UNCACHED - the firmware's MTRRs declare the memory uncached
 *
 * Programs get a write-back mapping nevertheless. On hosts that honour a guest's
 * MTRRs it is slow all the same: measure.
 */
#define IVMQ_INFO_FIRMWARE_UNCACHED	(1U << 1)

/**
 * struct ivmq_info - what the device is
 * @api_version: IVMQ_API_VERSION of the driver
 * @flags: IVMQ_INFO_* bits
 * @region_size: bytes of the shared memory, all of which can be mapped
 * @ivposition: the id by which others ring this guest, as the device reports it
 *	now (as of API version 3; before, when it was bound, resumed or reset);
 *	IVMQ_NO_IVPOSITION for a plain device
 * @vectors: vectors of the device: 0..@vectors-1; 0 for a plain device, and
 *	where there is no MSI-X: then peers can be rung, but cannot ring
 * @vectors_unused: vectors that can be allocated and that no open file has
 * @server_vectors: vectors for which the server has doorbells, according to the
 *	region; 0: unknown, also before API version 2. Only vectors below
 *	both numbers are allocated
 * @interrupts: interrupts since the driver took the device over
 */
struct ivmq_info {
	__u32 api_version;
	__u32 flags;
	__u64 region_size;
	__u32 ivposition;
	__u32 vectors;
	__u32 vectors_unused;
	__u32 server_vectors;
	__u64 interrupts;
};

/**
 * struct ivmq_ring - a doorbell to ring
 * @peer: ivposition of the guest or host client, 0..65535
 * @vector: 0..IVMQ_VECTOR_LIMIT-1
 */
struct ivmq_ring {
	__u32 peer;
	__u32 vector;
};

/* Bits of ivmq_vector.flags */

/** IVMQ_VECTOR_EXACT - allocate @vector and no other one */
#define IVMQ_VECTOR_EXACT	(1U << 0)

/**
 * struct ivmq_vector - a vector to allocate
 * @flags: in: 0 or IVMQ_VECTOR_EXACT
 * @vector: in: the wanted one, with IVMQ_VECTOR_EXACT; out: the one allocated
 * @eventfd: in: an eventfd that gets the vector's rings, or -1: they are
 *	counted for read() and poll()
 * @users: out: open files that have the vector now; more than 1: it is shared,
 *	and each of them receives every ring
 */
struct ivmq_vector {
	__u32 flags;
	__u32 vector;
	__s32 eventfd;
	__u32 users;
};

/**
 * struct ivmq_eventfd - where the rings of a vector of this file go
 * @vector: a vector that this open file has allocated
 * @eventfd: an eventfd, or -1: count them for read() and poll()
 */
struct ivmq_eventfd {
	__u32 vector;
	__s32 eventfd;
};

/**
 * struct ivmq_slot - a slot of the region's peer table that this process owns
 * @live_word: the slot's life word while the process lives in it: incarnation,
 *	the ivposition of this device (IVMQ_NO_IVPOSITION for a plain one),
 *	flags, and the state "live"
 * @boot_id: the boot id that the process writes into the slot. For plain
 *	devices: it distinguishes the slots of two guests
 * @slot: index in the peer table
 * @reserved: 0
 */
struct ivmq_slot {
	__u64 live_word;
	__u64 boot_id[2];
	__u32 slot;
	__u32 reserved;
};

#define IVMQ_IOC_MAGIC		0xBC

/** IVMQ_IOC_INFO - describes the device; one register read, microseconds */
#define IVMQ_IOC_INFO		_IOR(IVMQ_IOC_MAGIC, 0x00, struct ivmq_info)

/**
 * IVMQ_IOC_RING - rings a doorbell; one register write, never blocks
 *
 * Whether the peer exists is unknown; a ring for a missing peer has no effect.
 * EINVAL: @peer or @vector out of range. EOPNOTSUPP: a plain device. EBADF:
 * the file is not open for writing.
 */
#define IVMQ_IOC_RING		_IOW(IVMQ_IOC_MAGIC, 0x01, struct ivmq_ring)

/**
 * IVMQ_IOC_ALLOC_VECTOR - allocates a vector for this open file, until it is closed
 *
 * Without IVMQ_VECTOR_EXACT it allocates the vector with the fewest users that
 * this file does not have yet. EOPNOTSUPP: a device without vectors. EINVAL:
 * unknown flags, no such vector (see ivmq_info.server_vectors), or @eventfd is not
 * an eventfd. EBADF: @eventfd is not open. EBUSY: this file has the vector already,
 * or another one has bound @eventfd to it. ENOSPC: this file has all vectors, or
 * the vector has IVMQ_USER_LIMIT users.
 */
#define IVMQ_IOC_ALLOC_VECTOR	_IOWR(IVMQ_IOC_MAGIC, 0x02, struct ivmq_vector)

/** IVMQ_IOC_FREE_VECTOR - frees a vector; EINVAL: this file does not have it */
#define IVMQ_IOC_FREE_VECTOR	_IOW(IVMQ_IOC_MAGIC, 0x03, __u32)

/**
 * IVMQ_IOC_SET_EVENTFD - changes where the rings of a vector of this file go
 *
 * The eventfd is signalled at once if there are rings that read() has not
 * returned, so none is lost. EOPNOTSUPP: a device without vectors. EINVAL: this
 * file does not have the vector, or @eventfd is not an eventfd. EBADF: @eventfd is
 * not open. EBUSY: another file has bound @eventfd to the vector.
 */
#define IVMQ_IOC_SET_EVENTFD	_IOW(IVMQ_IOC_MAGIC, 0x04, struct ivmq_eventfd)

/**
 * IVMQ_IOC_REGISTER_SLOT - registers a slot, to be marked dead when the process ends
 *
 * Call it before the slot is claimed. When the last mapping that the process has
 * of this file ends (exit, a signal, exec, munmap), or when the device is removed,
 * the driver changes the slot's life word from @live_word, or the same word in the
 * state "claiming", to the state "dead" by one compare-and-swap; adds one to
 * peers_generation; and rings every live peer that can be woken. If the word is any
 * other one, nothing happens, so a claim that failed or has ended needs no cleanup.
 * A child of fork() does not keep the slot alive.
 *
 * Registering the same slot again replaces the old registration.
 * EPERM: the caller has not mapped the region through this open file. EBADF:
 * the file is not open for writing. EINVAL: no such slot, or @live_word is not
 * the word of a live slot of this device. EBUSY: another open file has
 * registered this incarnation of the slot. ENOSPC: IVMQ_SLOT_LIMIT slots are
 * registered. ENODATA: the memory is not an ivmq region, or a damaged one.
 * EPROTONOSUPPORT: a region of another major version.
 */
#define IVMQ_IOC_REGISTER_SLOT	_IOW(IVMQ_IOC_MAGIC, 0x05, struct ivmq_slot)

/**
 * IVMQ_IOC_UNREGISTER_SLOT - removes a registration
 *
 * EINVAL: the slot is not registered. EPERM: another process has registered it.
 */
#define IVMQ_IOC_UNREGISTER_SLOT _IOW(IVMQ_IOC_MAGIC, 0x06, __u32)

/*
 * The ioctls of the demonstration driver "ivpci", for programs that know only
 * those. They need no vector.
 */

/** IVPCI_IOC_RING - rings a doorbell: peer << 16 | vector; errors as IVMQ_IOC_RING */
#define IVPCI_IOC_RING		_IOW('f', 1, __u32)

/**
 * IVPCI_IOC_WAIT - waits for an interrupt of the device, on any vector
 *
 * Returns at once if one arrived since the last wait of this open file returned
 * or, at the first wait, since it was opened. EAGAIN: none arrived, and the file is
 * O_NONBLOCK. EOPNOTSUPP: a device without vectors. The argument is ignored.
 */
#define IVPCI_IOC_WAIT		_IO('f', 2)

/** IVPCI_IOC_IVPOSITION - reads the device's IVPosition register; 0 on a plain device */
#define IVPCI_IOC_IVPOSITION	_IOR('f', 3, __u32)

#endif /* _UAPI_IVMQ_H */
