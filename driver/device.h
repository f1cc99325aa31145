/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the driver share: pci.c (adding and removing devices), file.c
 * (open files and their calls), vectors.c (interrupts), slots.c (the peer table)
 * and mapping.c.
 *
 * Lifetimes: struct ivmq_device belongs to its embedded struct device, which
 * an open file keeps; the PCI device's resources end with ivmq_remove(), after
 * ivmq_end_files() has ensured that nothing uses them any more.
 *
 * An open file is over when the device is removed, when the machine turns out to
 * be a clone of another one, or when the device has another ivposition than before
 * (see pci.c). It then has no vectors and slots, and its mapping becomes memory of
 * its own, which begins as zeroes: so its process goes on without the device, and
 * does no harm.
 *
 * Locks, outer first:
 *   mmap_lock         of a process, in faults and when mappings come and go
 *   device->removal   read: faults and doorbells of files that are not over;
 *                     write: while files become over, and during a reset
 *   device->lock      open files, their vectors, slots and mappings; the
 *                     ivposition; under it the BARs may be touched for a file
 *                     that is not over
 *   msix->lock        users of a vector; taken by the interrupt
 *   file->mapping     under device->removal: the region is mapped into a process
 * User memory is never touched under them, as that may need mmap_lock.
 */

#ifndef IVMQ_DEVICE_H
#define IVMQ_DEVICE_H

#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define IVMQ_NAME		"ivmq"

/* BAR 0 */
#define IVMQ_REG_IVPOSITION	8
#define IVMQ_REG_DOORBELL	12
#define IVMQ_REG_BYTES		16

/* An MSI-X vector of a device. */
struct ivmq_msix {
	struct ivmq_device *device;
	unsigned int index;
	int irq;
	char name[24];
	spinlock_t lock;		/* of users, and of their eventfds */
	struct list_head users;		/* struct ivmq_use */
	unsigned int user_count;	/* under device->lock */
	unsigned long window;		/* jiffies when it began; under lock */
	unsigned int in_window;		/* interrupts since; under lock */
	struct delayed_work rest;	/* ends a rest from a storm */
	bool ending;			/* no more rests; under lock */
};

struct ivmq_device {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pdev;
	int id;

	struct rw_semaphore removal;
	bool gone;			/* no file is opened any more */

	void __iomem *regs;
	phys_addr_t region_start;
	u64 region_size;
	void *region;			/* all of BAR 2 */
	bool firmware_uncached;

	bool doorbell;
	u32 ivposition;			/* the register's value when it was last looked at */
	u64 server_epoch;		/* the region's, of before that */
	unsigned int vectors;		/* 0 also where there is no MSI-X */
	struct ivmq_msix *msix;
	atomic64_t interrupts;
	wait_queue_head_t wait;		/* for any interrupt */

	struct mutex lock;		/* of files and what belongs to them */
	struct list_head files;		/* struct ivmq_file */
	struct notifier_block copied;	/* is told when this machine is a copy */
};

/* An open file. */
struct ivmq_file {
	struct ivmq_device *device;
	struct file *file;
	bool over;			/* set under device->removal and device->lock */
	struct list_head entry;		/* in device->files */
	struct list_head uses;		/* struct ivmq_use */
	unsigned int counted_uses;	/* uses without an eventfd */
	atomic64_t rings;		/* that read() has not taken */
	wait_queue_head_t wait;		/* for rings */
	atomic64_t waited;		/* device->interrupts when the last wait ended */
	struct mm_struct *mm;		/* who has mapped the region; NULL if maps is 0 */
	unsigned int maps;
	struct mutex mapping;		/* of entries that map the region, of each size */
	struct xarray pages;		/* what is mapped in place of the region once over */
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

/* pci.c */
bool ivmq_update_ivposition(struct ivmq_device *device);
void ivmq_cut_off(struct ivmq_device *device);

/* file.c */
extern const struct file_operations ivmq_fops;
void ivmq_end_files(struct ivmq_device *device, bool dead);

/* mapping.c */
int ivmq_mmap(struct file *file, struct vm_area_struct *vma);
void ivmq_unmap_files(struct ivmq_device *device);
void ivmq_free_pages(struct ivmq_file *f);

/* slots.c */
u64 ivmq_server_epoch(struct ivmq_device *device);
u32 ivmq_server_vectors(struct ivmq_device *device);
void ivmq_end_slots(struct ivmq_file *f);
void ivmq_forget_slots(struct ivmq_file *f);
long ivmq_ioctl_register_slot(struct ivmq_file *f, const void __user *user);
long ivmq_ioctl_unregister_slot(struct ivmq_file *f, const void __user *user);

/* vectors.c */
int ivmq_request_interrupts(struct ivmq_device *device);
void ivmq_free_interrupts(struct ivmq_device *device);
unsigned int ivmq_usable_vectors(struct ivmq_device *device);
void ivmq_wake_users(struct ivmq_device *device);
void ivmq_end_uses(struct ivmq_file *f, bool tell);
long ivmq_ioctl_alloc_vector(struct ivmq_file *f, void __user *user);
long ivmq_ioctl_free_vector(struct ivmq_file *f, const void __user *user);
long ivmq_ioctl_set_eventfd(struct ivmq_file *f, const void __user *user);

static inline void ivmq_ring_register(struct ivmq_device *device, u32 peer, u32 vector)
{
	iowrite32(peer << 16 | vector, device->regs + IVMQ_REG_DOORBELL);
}

#endif /* IVMQ_DEVICE_H */
