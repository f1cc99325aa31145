// SPDX-License-Identifier: GPL-2.0
/*
 * ivmq - guest driver for QEMU's ivshmem devices, plain and doorbell
 *
 * Each device is /dev/ivmqN; uapi/ivmq.h describes what programs see.
 *
 * Lifetimes: struct ivmq_device belongs to its embedded struct device, which
 * an open file keeps; the PCI device's resources end with ivmq_remove(), after
 * ivmq_detach() has seen to it that nothing uses them any more.
 *
 * Locks, outer first:
 *   mmap_lock         of a process, in faults and when mappings come and go
 *   device->removal   read: faults and doorbells, while !gone; write:
 *                     ivmq_detach(), to set gone
 *   device->lock      open files, their vectors, slots and mappings; under it
 *                     the BARs may be touched while !detached
 *   msix->lock        users of a vector; taken by the interrupt
 * User memory is never touched under them, as that may need mmap_lock.
 */

#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/wait.h>

#include "ivmq.h"
#include "region.h"

#define IVMQ_NAME		"ivmq"
#define IVMQ_MAX_DEVICES	256
#define IVMQ_MAX_USERS		1024	/* of one vector */

/* BAR 0 */
#define IVMQ_REG_IVPOSITION	8
#define IVMQ_REG_DOORBELL	12
#define IVMQ_REG_BYTES		16

static dev_t ivmq_devt;
static DEFINE_IDA(ivmq_ida);

/* An MSI-X vector of a device. */
struct ivmq_msix {
	struct ivmq_device *device;
	unsigned int index;
	int irq;
	char name[24];
	spinlock_t lock;		/* of users, and of their eventfds */
	struct list_head users;		/* struct ivmq_use */
	unsigned int user_count;	/* under device->lock */
};

struct ivmq_device {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pdev;
	int id;

	struct rw_semaphore removal;
	bool gone;			/* no more faults, doorbells and new uses */
	bool detached;			/* the BARs are about to go */

	void __iomem *regs;
	phys_addr_t region_start;
	u64 region_size;
	void *region;			/* all of BAR 2 */
	bool firmware_uncached;

	bool doorbell;
	u32 ivposition;			/* the register's value */
	unsigned int vectors;
	struct ivmq_msix *msix;
	atomic64_t interrupts;
	wait_queue_head_t wait;		/* for any interrupt */

	struct mutex lock;		/* of files and what belongs to them */
	struct list_head files;		/* struct ivmq_file */
};

/* An open file. */
struct ivmq_file {
	struct ivmq_device *device;
	struct file *file;
	struct list_head entry;		/* in device->files */
	struct list_head uses;		/* struct ivmq_use */
	unsigned int use_count;
	atomic64_t rings;		/* that read() has not taken */
	wait_queue_head_t wait;		/* for rings */
	atomic64_t waited;		/* device->interrupts when the last wait ended */
	struct mm_struct *mm;		/* who has mapped the region; NULL if maps is 0 */
	unsigned int maps;
	struct list_head slots;		/* struct ivmq_owned_slot */
	unsigned int slot_count;
};

/* A vector that an open file has allocated. */
struct ivmq_use {
	struct list_head of_msix;
	struct list_head of_file;
	struct ivmq_msix *msix;
	struct ivmq_file *file;
	struct eventfd_ctx *eventfd;	/* or NULL: count */
};

/* Where the peer table lies; checked, and kept apart from what others can write. */
struct ivmq_table {
	u64 offset;
	u32 max_peers;
};

/* A slot that ends with its owner. */
struct ivmq_owned_slot {
	struct list_head entry;
	struct ivmq_table table;
	u32 slot;
	u64 live_word;
	u64 boot_id[2];
};

/* ---- The region ---------------------------------------------------------- */

static u32 ivmq_read32(struct ivmq_device *device, u64 offset)
{
	return READ_ONCE(*(u32 *)(device->region + offset));
}

static u64 *ivmq_word(struct ivmq_device *device, u64 offset)
{
	return device->region + offset;
}

static u64 ivmq_read64(struct ivmq_device *device, u64 offset)
{
	return READ_ONCE(*ivmq_word(device, offset));
}

/* Reads where the peer table is. Everyone can write there, so nothing is believed. */
static int ivmq_read_table(struct ivmq_device *device, struct ivmq_table *table)
{
	u64 offset;
	u32 max_peers;

	if (device->region_size < IVMQ_HEADER_BYTES ||
	    ivmq_read64(device, IVMQ_HEADER_MAGIC) != IVMQ_REGION_MAGIC)
		return -ENODATA;
	if (ivmq_read32(device, IVMQ_HEADER_VERSION) >> 16 != IVMQ_REGION_VERSION_MAJOR)
		return -EPROTONOSUPPORT;
	max_peers = ivmq_read32(device, IVMQ_HEADER_MAX_PEERS);
	offset = ivmq_read64(device, IVMQ_HEADER_PEER_TABLE);
	if (ivmq_read32(device, IVMQ_HEADER_PEER_STRIDE) != IVMQ_SLOT_BYTES ||
	    max_peers < 1 || max_peers > IVMQ_MAX_PEERS ||
	    offset < IVMQ_HEADER_BYTES || offset % sizeof(u64) ||
	    offset > device->region_size ||
	    (u64)max_peers * IVMQ_SLOT_BYTES > device->region_size - offset)
		return -ENODATA;
	table->offset = offset;
	table->max_peers = max_peers;
	return 0;
}

static void ivmq_ring_register(struct ivmq_device *device, u32 peer, u32 vector)
{
	iowrite32(peer << 16 | vector, device->regs + IVMQ_REG_DOORBELL);
}

/*
 * Rings every live peer that sleeps on its doorbell. What it reads decides
 * only which doorbells it rings, at most one for each slot.
 */
static void ivmq_wake_sleepers(struct ivmq_device *device, const struct ivmq_table *table)
{
	u32 i;

	if (!device->doorbell)
		return;
	/* Pairs with a sleeper's fence between arming and its last look. */
	smp_mb();
	for (i = 0; i < table->max_peers; i++) {
		u64 slot = table->offset + (u64)i * IVMQ_SLOT_BYTES;
		u64 life = ivmq_read64(device, slot + IVMQ_SLOT_LIFE);
		u32 vector = ivmq_read32(device, slot + IVMQ_SLOT_VECTOR);

		if (IVMQ_LIFE_STATE(life) != IVMQ_STATE_LIVE ||
		    !(IVMQ_LIFE_FLAGS(life) & IVMQ_PEER_WAKEABLE) ||
		    !(ivmq_read64(device, slot + IVMQ_SLOT_ARMED) & 1) ||
		    IVMQ_LIFE_IVPOSITION(life) == IVMQ_NO_IVPOSITION ||
		    vector >= IVMQ_VECTOR_LIMIT)
			continue;
		ivmq_ring_register(device, IVMQ_LIFE_IVPOSITION(life), vector);
	}
}

/*
 * On a plain device the ivposition does not tell one guest's peers from
 * another's: the boot id does. A claim that has not got so far as to write it
 * is left to the other peers.
 */
static bool ivmq_is_own(struct ivmq_device *device, const struct ivmq_owned_slot *owned, u64 slot)
{
	u32 *named = (u32 *)ivmq_word(device, slot + IVMQ_SLOT_NAME_INCARNATION);

	if (device->doorbell)
		return true;
	/* Pairs with the release by which the owner stores it, after the boot id. */
	return smp_load_acquire(named) == IVMQ_LIFE_INCARNATION(owned->live_word) &&
	       ivmq_read64(device, slot + IVMQ_SLOT_BOOT_ID) == owned->boot_id[0] &&
	       ivmq_read64(device, slot + IVMQ_SLOT_BOOT_ID + 8) == owned->boot_id[1];
}

/* Marks the slot dead if it is still the owner's. Returns whether it was. */
static bool ivmq_end_slot(struct ivmq_device *device, const struct ivmq_owned_slot *owned)
{
	u64 slot = owned->table.offset + (u64)owned->slot * IVMQ_SLOT_BYTES;
	u64 *life = ivmq_word(device, slot + IVMQ_SLOT_LIFE);
	u64 live = owned->live_word;
	u64 claiming = IVMQ_LIFE_WITH_STATE(live, IVMQ_STATE_CLAIMING);
	u64 dead = IVMQ_LIFE_WITH_STATE(live, IVMQ_STATE_DEAD);

	if (!ivmq_is_own(device, owned, slot))
		return false;
	/* A claim becomes live but never the other way round: in this order none slips through. */
	if (cmpxchg(life, claiming, dead) != claiming && cmpxchg(life, live, dead) != live)
		return false;
	atomic64_inc((atomic64_t *)ivmq_word(device, IVMQ_HEADER_GENERATION));
	return true;
}

static void ivmq_forget_slot(struct ivmq_file *f, struct ivmq_owned_slot *owned)
{
	list_del(&owned->entry);
	f->slot_count--;
	kfree(owned);
}

/*
 * Ends all slots of an open file. The caller holds device->lock. Nothing is
 * left to do when the device has been detached: that has ended them.
 */
static void ivmq_end_slots(struct ivmq_file *f)
{
	struct ivmq_owned_slot *owned, *next;
	struct ivmq_table table;
	bool ended = false;

	list_for_each_entry_safe(owned, next, &f->slots, entry) {
		if (!f->device->detached && ivmq_end_slot(f->device, owned)) {
			table = owned->table;
			ended = true;
		}
		ivmq_forget_slot(f, owned);
	}
	if (ended)
		ivmq_wake_sleepers(f->device, &table);
}

/* ---- Interrupts ---------------------------------------------------------- */

static void ivmq_signal(struct eventfd_ctx *eventfd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(eventfd);
#else
	eventfd_signal(eventfd, 1);
#endif
}

static irqreturn_t ivmq_interrupt(int irq, void *data)
{
	struct ivmq_msix *msix = data;
	struct ivmq_use *use;

	spin_lock(&msix->lock);
	list_for_each_entry(use, &msix->users, of_msix) {
		if (use->eventfd) {
			ivmq_signal(use->eventfd);
		} else {
			atomic64_inc(&use->file->rings);
			wake_up_interruptible_poll(&use->file->wait, EPOLLIN | EPOLLRDNORM);
		}
	}
	spin_unlock(&msix->lock);

	atomic64_inc(&msix->device->interrupts);
	wake_up_interruptible(&msix->device->wait);
	return IRQ_HANDLED;
}

static void ivmq_free_interrupts(struct ivmq_device *device)
{
	unsigned int i;

	for (i = 0; i < device->vectors; i++)
		free_irq(device->msix[i].irq, &device->msix[i]);
	if (device->vectors)
		pci_free_irq_vectors(device->pdev);
}

static int ivmq_request_interrupts(struct ivmq_device *device)
{
	struct pci_dev *pdev = device->pdev;
	int wanted, got, ret;

	/* The capability tells doorbell devices from plain ones; ivposition 0 is valid. */
	wanted = pci_msix_vec_count(pdev);
	if (wanted <= 0)
		return 0;
	got = pci_alloc_irq_vectors(pdev, 1, wanted, PCI_IRQ_MSIX);
	if (got < 0) {
		dev_err(&pdev->dev, "no MSI-X vectors: %d\n", got);
		return got;
	}
	if (got < wanted)
		dev_warn(&pdev->dev, "only %d of %d vectors work\n", got, wanted);
	device->msix = kcalloc(got, sizeof(*device->msix), GFP_KERNEL);
	if (!device->msix) {
		pci_free_irq_vectors(pdev);
		return -ENOMEM;
	}
	for (device->vectors = 0; device->vectors < got; device->vectors++) {
		struct ivmq_msix *msix = &device->msix[device->vectors];

		msix->device = device;
		msix->index = device->vectors;
		msix->irq = pci_irq_vector(pdev, msix->index);
		spin_lock_init(&msix->lock);
		INIT_LIST_HEAD(&msix->users);
		snprintf(msix->name, sizeof(msix->name), IVMQ_NAME "%d-%u", device->id,
			 msix->index);
		ret = request_irq(msix->irq, ivmq_interrupt, 0, msix->name, msix);
		if (ret) {
			dev_err(&pdev->dev, "vector %u cannot be used: %d\n", msix->index, ret);
			if (device->vectors)
				ivmq_free_interrupts(device);
			else
				pci_free_irq_vectors(pdev);
			device->vectors = 0;
			return ret;
		}
	}
	device->doorbell = true;
	return 0;
}

/* ---- Vectors of open files ----------------------------------------------- */

static struct ivmq_use *ivmq_find_use(struct ivmq_file *f, u32 vector)
{
	struct ivmq_use *use;

	list_for_each_entry(use, &f->uses, of_file) {
		if (use->msix->index == vector)
			return use;
	}
	return NULL;
}

/* NULL if fd is -1. */
static struct eventfd_ctx *ivmq_get_eventfd(s32 fd)
{
	if (fd == -1)
		return NULL;
	return eventfd_ctx_fdget(fd);
}

static void ivmq_put_eventfd(struct eventfd_ctx *eventfd)
{
	if (eventfd)
		eventfd_ctx_put(eventfd);
}

static void ivmq_end_use(struct ivmq_use *use)
{
	struct ivmq_msix *msix = use->msix;

	spin_lock_irq(&msix->lock);
	list_del(&use->of_msix);
	spin_unlock_irq(&msix->lock);
	msix->user_count--;
	list_del(&use->of_file);
	WRITE_ONCE(use->file->use_count, use->file->use_count - 1);
	ivmq_put_eventfd(use->eventfd);
	kfree(use);
}

static int ivmq_choose_vector(struct ivmq_file *f, const struct ivmq_vector *args)
{
	struct ivmq_device *device = f->device;
	int best = -ENOSPC;
	unsigned int i;

	if (args->flags & IVMQ_VECTOR_EXACT) {
		if (args->vector >= device->vectors)
			return -EINVAL;
		if (ivmq_find_use(f, args->vector))
			return -EBUSY;
		return device->msix[args->vector].user_count < IVMQ_MAX_USERS ? args->vector :
										-ENOSPC;
	}
	for (i = 0; i < device->vectors; i++) {
		unsigned int count = device->msix[i].user_count;

		if (count < IVMQ_MAX_USERS && !ivmq_find_use(f, i) &&
		    (best < 0 || count < device->msix[best].user_count))
			best = i;
	}
	return best;
}

static int ivmq_alloc_vector(struct ivmq_file *f, struct ivmq_vector *args,
			     struct eventfd_ctx *eventfd)
{
	struct ivmq_use *use;
	int vector;

	use = kzalloc(sizeof(*use), GFP_KERNEL);
	if (!use)
		return -ENOMEM;
	vector = ivmq_choose_vector(f, args);
	if (vector < 0) {
		kfree(use);
		return vector;
	}
	use->file = f;
	use->msix = &f->device->msix[vector];
	use->eventfd = eventfd;
	list_add_tail(&use->of_file, &f->uses);
	WRITE_ONCE(f->use_count, f->use_count + 1);
	args->vector = vector;
	args->users = ++use->msix->user_count;
	spin_lock_irq(&use->msix->lock);
	list_add_tail(&use->of_msix, &use->msix->users);
	spin_unlock_irq(&use->msix->lock);
	return 0;
}

/* Puts the old eventfd into *@eventfd. */
static int ivmq_set_eventfd(struct ivmq_file *f, u32 vector, struct eventfd_ctx **eventfd)
{
	struct ivmq_use *use = ivmq_find_use(f, vector);

	if (!use)
		return -EINVAL;
	spin_lock_irq(&use->msix->lock);
	swap(use->eventfd, *eventfd);
	spin_unlock_irq(&use->msix->lock);
	if (use->eventfd && atomic64_read(&f->rings))
		ivmq_signal(use->eventfd);
	return 0;
}

/* ---- Mappings ------------------------------------------------------------ */

struct ivmq_fill {
	struct mm_struct *mm;
	unsigned long pfn;
	pgprot_t prot;
};

static int ivmq_fill_pte(pte_t *pte, unsigned long address, void *data)
{
	struct ivmq_fill *fill = data;

	if (pte_none(ptep_get(pte)))
		set_pte_at(fill->mm, address, pte,
			   pte_mkspecial(pfn_pte(fill->pfn, fill->prot)));
	fill->pfn++;
	return 0;
}

/*
 * Maps what the page table around the address holds, up to 2 MiB. Not by
 * vmf_insert_pfn(): that takes the cache type from the firmware's MTRRs, which
 * commonly call PCI memory uncached, and an uncached mapping of what is RAM of
 * the host is slower by two orders of magnitude.
 */
static vm_fault_t ivmq_vm_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ivmq_file *f = vma->vm_file->private_data;
	struct ivmq_device *device = f->device;
	unsigned long table = vmf->address & PMD_MASK;
	unsigned long start = max(vma->vm_start, table);
	unsigned long end = min(vma->vm_end, table + PMD_SIZE);
	struct ivmq_fill fill = {
		.mm = vma->vm_mm,
		.pfn = PHYS_PFN(device->region_start) + vma->vm_pgoff +
		       ((start - vma->vm_start) >> PAGE_SHIFT),
		.prot = pgprot_decrypted(vma->vm_page_prot),
	};
	vm_fault_t ret = VM_FAULT_SIGBUS;

	down_read(&device->removal);
	if (!device->gone)
		ret = apply_to_page_range(vma->vm_mm, start, end - start, ivmq_fill_pte, &fill) ?
			VM_FAULT_OOM : VM_FAULT_NOPAGE;
	up_read(&device->removal);
	return ret;
}

static void ivmq_vm_open(struct vm_area_struct *vma)
{
	struct ivmq_file *f = vma->vm_file->private_data;

	mutex_lock(&f->device->lock);
	f->maps++;
	mutex_unlock(&f->device->lock);
}

static void ivmq_vm_close(struct vm_area_struct *vma)
{
	struct ivmq_file *f = vma->vm_file->private_data;
	struct ivmq_device *device = f->device;

	mutex_lock(&device->lock);
	if (--f->maps == 0) {
		/* Without the region its process cannot live in it. */
		ivmq_end_slots(f);
		mmdrop(f->mm);
		f->mm = NULL;
	}
	mutex_unlock(&device->lock);
}

static const struct vm_operations_struct ivmq_vm_ops = {
	.open = ivmq_vm_open,
	.close = ivmq_vm_close,
	.fault = ivmq_vm_fault,
};

static void ivmq_set_vm_flags(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

static int ivmq_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ivmq_file *f = file->private_data;
	struct ivmq_device *device = f->device;
	u64 pages = device->region_size >> PAGE_SHIFT;
	int ret = 0;

	if (!(vma->vm_flags & VM_MAYSHARE) || vma->vm_pgoff >= pages ||
	    vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;

	mutex_lock(&device->lock);
	if (READ_ONCE(device->gone)) {
		ret = -ENODEV;
	} else if (f->maps && f->mm != vma->vm_mm) {
		/* The mappings say whether the process lives, so they are one process's. */
		ret = -EPERM;
	} else if (f->maps++ == 0) {
		f->mm = vma->vm_mm;
		mmgrab(f->mm);
	}
	mutex_unlock(&device->lock);
	if (ret)
		return ret;

	/* VM_IO also keeps madvise(MADV_DOFORK) from undoing VM_DONTCOPY. */
	ivmq_set_vm_flags(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
	vma->vm_ops = &ivmq_vm_ops;
	return 0;
}

/* ---- ioctl --------------------------------------------------------------- */

static long ivmq_ioctl_info(struct ivmq_file *f, void __user *user)
{
	struct ivmq_device *device = f->device;
	struct ivmq_info info = {
		.api_version = IVMQ_API_VERSION,
		.region_size = device->region_size,
		.ivposition = IVMQ_NO_IVPOSITION,
		.vectors = device->vectors,
		.interrupts = atomic64_read(&device->interrupts),
	};
	unsigned int i;

	if (device->doorbell) {
		info.flags |= IVMQ_INFO_DOORBELL;
		info.ivposition = device->ivposition;
	}
	if (device->firmware_uncached)
		info.flags |= IVMQ_INFO_FIRMWARE_UNCACHED;
	mutex_lock(&device->lock);
	for (i = 0; i < device->vectors; i++)
		info.vectors_unused += !device->msix[i].user_count;
	mutex_unlock(&device->lock);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ivmq_ring(struct ivmq_file *f, u32 peer, u32 vector)
{
	struct ivmq_device *device = f->device;
	long ret = 0;

	if (!(f->file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (peer > U16_MAX || vector >= IVMQ_VECTOR_LIMIT)
		return -EINVAL;
	if (!device->doorbell)
		return -EOPNOTSUPP;
	down_read(&device->removal);
	if (device->gone)
		ret = -ENODEV;
	else
		ivmq_ring_register(device, peer, vector);
	up_read(&device->removal);
	return ret;
}

static long ivmq_ioctl_ring(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_ring args;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	return ivmq_ring(f, args.peer, args.vector);
}

static long ivmq_ioctl_alloc_vector(struct ivmq_file *f, void __user *user)
{
	struct ivmq_device *device = f->device;
	struct eventfd_ctx *eventfd;
	struct ivmq_vector args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~IVMQ_VECTOR_EXACT)
		return -EINVAL;
	if (!device->doorbell)
		return -EOPNOTSUPP;
	eventfd = ivmq_get_eventfd(args.eventfd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&device->lock);
	ret = READ_ONCE(device->gone) ? -ENODEV : ivmq_alloc_vector(f, &args, eventfd);
	mutex_unlock(&device->lock);
	if (ret) {
		ivmq_put_eventfd(eventfd);
		return ret;
	}
	if (copy_to_user(user, &args, sizeof(args))) {
		struct ivmq_use *use;

		mutex_lock(&device->lock);
		use = ivmq_find_use(f, args.vector);
		if (use)
			ivmq_end_use(use);
		mutex_unlock(&device->lock);
		return -EFAULT;
	}
	return 0;
}

static long ivmq_ioctl_free_vector(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_use *use;
	u32 vector;

	if (copy_from_user(&vector, user, sizeof(vector)))
		return -EFAULT;
	mutex_lock(&f->device->lock);
	use = ivmq_find_use(f, vector);
	if (use)
		ivmq_end_use(use);
	mutex_unlock(&f->device->lock);
	return use ? 0 : -EINVAL;
}

static long ivmq_ioctl_set_eventfd(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_device *device = f->device;
	struct eventfd_ctx *eventfd;
	struct ivmq_eventfd args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	eventfd = ivmq_get_eventfd(args.eventfd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&device->lock);
	ret = READ_ONCE(device->gone) ? -ENODEV : ivmq_set_eventfd(f, args.vector, &eventfd);
	mutex_unlock(&device->lock);
	ivmq_put_eventfd(eventfd);
	return ret;
}

static struct ivmq_owned_slot *ivmq_find_slot(struct ivmq_file *f, u32 slot)
{
	struct ivmq_owned_slot *owned;

	list_for_each_entry(owned, &f->slots, entry) {
		if (owned->slot == slot)
			return owned;
	}
	return NULL;
}

/* Whether another open file of this guest has registered the same life. */
static bool ivmq_is_registered(struct ivmq_file *f, const struct ivmq_slot *args)
{
	struct ivmq_owned_slot *owned;
	struct ivmq_file *other;

	list_for_each_entry(other, &f->device->files, entry) {
		owned = other == f ? NULL : ivmq_find_slot(other, args->slot);
		if (owned && IVMQ_LIFE_INCARNATION(owned->live_word) ==
				     IVMQ_LIFE_INCARNATION(args->live_word))
			return true;
	}
	return false;
}

static int ivmq_register_slot(struct ivmq_file *f, const struct ivmq_slot *args,
			      struct ivmq_owned_slot *new)
{
	struct ivmq_owned_slot *old;
	int ret;

	if (!f->maps || f->mm != current->mm)
		return -EPERM;
	ret = ivmq_read_table(f->device, &new->table);
	if (ret)
		return ret;
	if (args->slot >= new->table.max_peers)
		return -EINVAL;
	if (ivmq_is_registered(f, args))
		return -EBUSY;
	old = ivmq_find_slot(f, args->slot);
	if (!old && f->slot_count >= IVMQ_SLOT_LIMIT)
		return -ENOSPC;
	if (old)
		ivmq_forget_slot(f, old);
	new->slot = args->slot;
	new->live_word = args->live_word;
	memcpy(new->boot_id, args->boot_id, sizeof(new->boot_id));
	list_add_tail(&new->entry, &f->slots);
	f->slot_count++;
	return 0;
}

static long ivmq_ioctl_register_slot(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_device *device = f->device;
	struct ivmq_owned_slot *owned;
	struct ivmq_slot args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (!(f->file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (args.reserved || IVMQ_LIFE_STATE(args.live_word) != IVMQ_STATE_LIVE ||
	    IVMQ_LIFE_FLAGS(args.live_word) & ~IVMQ_PEER_FLAGS ||
	    IVMQ_LIFE_IVPOSITION(args.live_word) !=
		    (device->doorbell ? device->ivposition : IVMQ_NO_IVPOSITION))
		return -EINVAL;
	owned = kzalloc(sizeof(*owned), GFP_KERNEL);
	if (!owned)
		return -ENOMEM;
	mutex_lock(&device->lock);
	ret = device->detached ? -ENODEV : ivmq_register_slot(f, &args, owned);
	mutex_unlock(&device->lock);
	if (ret)
		kfree(owned);
	return ret;
}

static long ivmq_ioctl_unregister_slot(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_owned_slot *owned;
	u32 slot;

	if (copy_from_user(&slot, user, sizeof(slot)))
		return -EFAULT;
	mutex_lock(&f->device->lock);
	owned = ivmq_find_slot(f, slot);
	if (owned)
		ivmq_forget_slot(f, owned);
	mutex_unlock(&f->device->lock);
	return owned ? 0 : -EINVAL;
}

static long ivmq_ioctl_ivpci_ring(struct ivmq_file *f, const void __user *user)
{
	u32 value;

	if (copy_from_user(&value, user, sizeof(value)))
		return -EFAULT;
	return ivmq_ring(f, value >> 16, value & U16_MAX);
}

/* Takes all interrupts since the last call. Returns whether there were any. */
static bool ivmq_take_interrupts(struct ivmq_file *f)
{
	s64 before = atomic64_read(&f->waited);
	s64 now = atomic64_read(&f->device->interrupts);

	return now != before && atomic64_cmpxchg(&f->waited, before, now) == before;
}

static long ivmq_ioctl_ivpci_wait(struct ivmq_file *f)
{
	struct ivmq_device *device = f->device;
	bool taken = false;
	int ret;

	if (!device->doorbell)
		return -EOPNOTSUPP;
	if (f->file->f_flags & O_NONBLOCK)
		return ivmq_take_interrupts(f) ? 0 : -EAGAIN;
	ret = wait_event_interruptible(device->wait,
				       (taken = ivmq_take_interrupts(f)) ||
				       READ_ONCE(device->gone));
	if (ret)
		return ret;
	return taken ? 0 : -ENODEV;
}

static long ivmq_ioctl_ivpci_ivposition(struct ivmq_file *f, void __user *user)
{
	u32 value = f->device->ivposition;

	return copy_to_user(user, &value, sizeof(value)) ? -EFAULT : 0;
}

static long ivmq_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ivmq_file *f = file->private_data;
	void __user *user = (void __user *)arg;
	bool gone = READ_ONCE(f->device->gone);

	switch (cmd) {
	case IVMQ_IOC_INFO:
		return gone ? -ENODEV : ivmq_ioctl_info(f, user);
	case IVMQ_IOC_RING:
		return gone ? -ENODEV : ivmq_ioctl_ring(f, user);
	case IVMQ_IOC_ALLOC_VECTOR:
		return gone ? -ENODEV : ivmq_ioctl_alloc_vector(f, user);
	case IVMQ_IOC_FREE_VECTOR:
		return gone ? -ENODEV : ivmq_ioctl_free_vector(f, user);
	case IVMQ_IOC_SET_EVENTFD:
		return gone ? -ENODEV : ivmq_ioctl_set_eventfd(f, user);
	case IVMQ_IOC_REGISTER_SLOT:
		return gone ? -ENODEV : ivmq_ioctl_register_slot(f, user);
	case IVMQ_IOC_UNREGISTER_SLOT:
		return gone ? -ENODEV : ivmq_ioctl_unregister_slot(f, user);
	case IVPCI_IOC_RING:
		return gone ? -ENODEV : ivmq_ioctl_ivpci_ring(f, user);
	case IVPCI_IOC_WAIT:
		return gone ? -ENODEV : ivmq_ioctl_ivpci_wait(f);
	case IVPCI_IOC_IVPOSITION:
		return gone ? -ENODEV : ivmq_ioctl_ivpci_ivposition(f, user);
	default:
		return -ENOTTY;
	}
}

/* ---- Files --------------------------------------------------------------- */

static int ivmq_open(struct inode *inode, struct file *file)
{
	struct ivmq_device *device = container_of(inode->i_cdev, struct ivmq_device, cdev);
	struct ivmq_file *f;
	int ret;

	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return -ENOMEM;
	f->device = device;
	f->file = file;
	INIT_LIST_HEAD(&f->uses);
	INIT_LIST_HEAD(&f->slots);
	init_waitqueue_head(&f->wait);

	mutex_lock(&device->lock);
	ret = READ_ONCE(device->gone) ? -ENODEV : 0;
	if (!ret) {
		get_device(&device->dev);
		atomic64_set(&f->waited, atomic64_read(&device->interrupts));
		file->private_data = f;
		list_add_tail(&f->entry, &device->files);
	}
	mutex_unlock(&device->lock);
	if (ret) {
		kfree(f);
		return ret;
	}
	return nonseekable_open(inode, file);
}

static int ivmq_release(struct inode *inode, struct file *file)
{
	struct ivmq_file *f = file->private_data;
	struct ivmq_device *device = f->device;
	struct ivmq_use *use, *next;

	mutex_lock(&device->lock);
	list_del(&f->entry);
	list_for_each_entry_safe(use, next, &f->uses, of_file)
		ivmq_end_use(use);
	/* A mapping keeps its file: the mappings have ended, and the slots with them. */
	ivmq_end_slots(f);
	mutex_unlock(&device->lock);
	kfree(f);
	put_device(&device->dev);
	return 0;
}

static ssize_t ivmq_read(struct file *file, char __user *user, size_t count, loff_t *position)
{
	struct ivmq_file *f = file->private_data;
	struct ivmq_device *device = f->device;
	u64 rings = 0;
	int ret;

	if (count < sizeof(rings))
		return -EINVAL;
	for (;;) {
		if (READ_ONCE(device->gone))
			return -ENODEV;
		rings = atomic64_xchg(&f->rings, 0);
		if (rings)
			break;
		if (!READ_ONCE(f->use_count))
			return -EINVAL;	/* it would wait for ever */
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(f->wait,
					       atomic64_read(&f->rings) ||
					       READ_ONCE(device->gone));
		if (ret)
			return ret;
	}
	if (copy_to_user(user, &rings, sizeof(rings))) {
		atomic64_add(rings, &f->rings);
		return -EFAULT;
	}
	return sizeof(rings);
}

static __poll_t ivmq_poll(struct file *file, poll_table *wait)
{
	struct ivmq_file *f = file->private_data;

	poll_wait(file, &f->wait, wait);
	if (READ_ONCE(f->device->gone))
		return EPOLLHUP | EPOLLERR;
	return atomic64_read(&f->rings) ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations ivmq_fops = {
	.owner = THIS_MODULE,
	.open = ivmq_open,
	.release = ivmq_release,
	.read = ivmq_read,
	.poll = ivmq_poll,
	.mmap = ivmq_mmap,
	.unlocked_ioctl = ivmq_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- Devices ------------------------------------------------------------- */

static struct class ivmq_class = {
	.name = IVMQ_NAME,
};

static void ivmq_device_release(struct device *dev)
{
	struct ivmq_device *device = container_of(dev, struct ivmq_device, dev);

	ida_free(&ivmq_ida, device->id);
	kfree(device->msix);
	kfree(device);
}

/* Whether the kernel's own mapping is uncached: the firmware's MTRRs made it so. */
static bool ivmq_is_uncached(void *address)
{
#ifdef CONFIG_X86
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)address, &level);

	return pte && pte_flags(*pte) & (_PAGE_PCD | _PAGE_PWT);
#else
	return false;
#endif
}

static int ivmq_check(struct pci_dev *pdev)
{
	if (pdev->revision == 0) {
		dev_err(&pdev->dev,
			"revision 0, which QEMU before 2.6 had, is not supported; use ivshmem-plain or ivshmem-doorbell\n");
		return -ENODEV;
	}
	if (!(pci_resource_flags(pdev, 0) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, 0) < IVMQ_REG_BYTES) {
		dev_err(&pdev->dev, "no registers in BAR 0\n");
		return -ENODEV;
	}
	if (!(pci_resource_flags(pdev, 2) & IORESOURCE_MEM) || !pci_resource_start(pdev, 2) ||
	    !PAGE_ALIGNED(pci_resource_start(pdev, 2)) || pci_resource_len(pdev, 2) < PAGE_SIZE ||
	    !PAGE_ALIGNED(pci_resource_len(pdev, 2))) {
		dev_err(&pdev->dev, "no shared memory in BAR 2, or less than a page: %pR\n",
			&pdev->resource[2]);
		return -ENODEV;
	}
	return 0;
}

static struct ivmq_device *ivmq_new_device(struct pci_dev *pdev)
{
	struct ivmq_device *device = kzalloc(sizeof(*device), GFP_KERNEL);

	if (!device)
		return ERR_PTR(-ENOMEM);
	device->id = ida_alloc_max(&ivmq_ida, IVMQ_MAX_DEVICES - 1, GFP_KERNEL);
	if (device->id < 0) {
		int ret = device->id;

		kfree(device);
		return ERR_PTR(ret);
	}
	device->pdev = pdev;
	init_rwsem(&device->removal);
	mutex_init(&device->lock);
	INIT_LIST_HEAD(&device->files);
	init_waitqueue_head(&device->wait);
	device->region_start = pci_resource_start(pdev, 2);
	device->region_size = pci_resource_len(pdev, 2);

	device_initialize(&device->dev);
	device->dev.class = &ivmq_class;
	device->dev.parent = &pdev->dev;
	device->dev.devt = MKDEV(MAJOR(ivmq_devt), device->id);
	device->dev.release = ivmq_device_release;
	return device;
}

static void ivmq_release_bars(struct ivmq_device *device)
{
	pci_clear_master(device->pdev);
	memunmap(device->region);
	iounmap(device->regs);
	pci_release_regions(device->pdev);
	pci_disable_device(device->pdev);
}

/* Parts open files from the hardware. They stay, and hear that it is gone. */
static void ivmq_detach(struct ivmq_device *device)
{
	struct ivmq_file *f;
	struct ivmq_use *use;

	down_write(&device->removal);
	WRITE_ONCE(device->gone, true);
	up_write(&device->removal);

	mutex_lock(&device->lock);
	/* From here on nobody maps a page: first the processes lose theirs, then their slots. */
	list_for_each_entry(f, &device->files, entry)
		unmap_mapping_range(f->file->f_mapping, 0, 0, 1);
	list_for_each_entry(f, &device->files, entry)
		ivmq_end_slots(f);
	device->detached = true;
	mutex_unlock(&device->lock);

	ivmq_free_interrupts(device);

	mutex_lock(&device->lock);
	list_for_each_entry(f, &device->files, entry) {
		list_for_each_entry(use, &f->uses, of_file) {
			if (use->eventfd)
				ivmq_signal(use->eventfd);
		}
		wake_up_interruptible_poll(&f->wait, EPOLLHUP | EPOLLERR);
	}
	mutex_unlock(&device->lock);
	wake_up_interruptible_all(&device->wait);
}

static int ivmq_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivmq_device *device;
	int ret;

	ret = ivmq_check(pdev);
	if (ret)
		return ret;
	device = ivmq_new_device(pdev);
	if (IS_ERR(device))
		return PTR_ERR(device);
	ret = dev_set_name(&device->dev, IVMQ_NAME "%d", device->id);
	if (ret)
		goto put;
	ret = pci_enable_device_mem(pdev);
	if (ret)
		goto put;
	ret = pci_request_regions(pdev, IVMQ_NAME);
	if (ret)
		goto disable;
	ret = -ENOMEM;
	device->regs = pci_ioremap_bar(pdev, 0);
	if (!device->regs)
		goto release_regions;
	device->region = memremap(device->region_start, device->region_size, MEMREMAP_WB);
	if (!device->region)
		goto unmap_registers;
	device->firmware_uncached = ivmq_is_uncached(device->region);
	device->ivposition = ioread32(device->regs + IVMQ_REG_IVPOSITION) & U16_MAX;
	/* Interrupts are memory writes of the device; without this they are dropped. */
	pci_set_master(pdev);
	ret = ivmq_request_interrupts(device);
	if (ret)
		goto unmap_region;
	pci_set_drvdata(pdev, device);
	cdev_init(&device->cdev, &ivmq_fops);
	device->cdev.owner = THIS_MODULE;
	ret = cdev_device_add(&device->cdev, &device->dev);
	if (ret) {
		/* For a moment it could be opened. */
		ivmq_detach(device);
		goto unmap_region;
	}
	if (device->doorbell)
		dev_info(&pdev->dev, "%s: %llu KiB, ivposition %u, %u vectors\n",
			 dev_name(&device->dev), device->region_size >> 10, device->ivposition,
			 device->vectors);
	else
		dev_info(&pdev->dev, "%s: %llu KiB, plain\n", dev_name(&device->dev),
			 device->region_size >> 10);
	return 0;

unmap_region:
	pci_clear_master(pdev);
	memunmap(device->region);
unmap_registers:
	iounmap(device->regs);
release_regions:
	pci_release_regions(pdev);
disable:
	pci_disable_device(pdev);
put:
	put_device(&device->dev);
	return ret;
}

static void ivmq_remove(struct pci_dev *pdev)
{
	struct ivmq_device *device = pci_get_drvdata(pdev);

	cdev_device_del(&device->cdev, &device->dev);
	ivmq_detach(device);
	ivmq_release_bars(device);
	put_device(&device->dev);
}

static const struct pci_device_id ivmq_ids[] = {
	{ PCI_DEVICE(0x1af4, 0x1110) },
	{ }
};
MODULE_DEVICE_TABLE(pci, ivmq_ids);

static struct pci_driver ivmq_driver = {
	.name = IVMQ_NAME,
	.id_table = ivmq_ids,
	.probe = ivmq_probe,
	.remove = ivmq_remove,
};

static int __init ivmq_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&ivmq_devt, 0, IVMQ_MAX_DEVICES, IVMQ_NAME);
	if (ret)
		return ret;
	ret = class_register(&ivmq_class);
	if (ret)
		goto unregister_region;
	ret = pci_register_driver(&ivmq_driver);
	if (ret)
		goto unregister_class;
	return 0;

unregister_class:
	class_unregister(&ivmq_class);
unregister_region:
	unregister_chrdev_region(ivmq_devt, IVMQ_MAX_DEVICES);
	return ret;
}

static void __exit ivmq_exit(void)
{
	pci_unregister_driver(&ivmq_driver);
	class_unregister(&ivmq_class);
	unregister_chrdev_region(ivmq_devt, IVMQ_MAX_DEVICES);
	ida_destroy(&ivmq_ida);
}

module_init(ivmq_init);
module_exit(ivmq_exit);

MODULE_DESCRIPTION("Guest driver for ivshmem devices: shared memory and doorbells for ivmq");
MODULE_AUTHOR("ivmq");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
