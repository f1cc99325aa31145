// SPDX-License-Identifier: GPL-2.0
/*
 * Slots of the peer table that end with the process that registered them.
 *
 * Other guests and the host have the region, too. So an atomic operation on it
 * is one that keeps its lock prefix, and a barrier one that stays, where this
 * kernel has only one CPU.
 */

#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"
#include "ivmq.h"
#include "region.h"

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

static u64 *ivmq_word(struct ivmq_device *device, u64 offset)
{
	return device->region + offset;
}

static u32 ivmq_read32(struct ivmq_device *device, u64 offset)
{
	/* What is read afterwards is as new, at least. Costs nothing on x86. */
	return virt_load_acquire((u32 *)ivmq_word(device, offset));
}

static u64 ivmq_read64(struct ivmq_device *device, u64 offset)
{
	/* As in ivmq_read32(). */
	return virt_load_acquire(ivmq_word(device, offset));
}

/* One instruction: others could keep a loop of compare-and-swaps busy for ever. */
static void ivmq_increment(u64 *word)
{
	asm volatile("lock; incq %0" : "+m" (*word) : : "memory", "cc");
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

/*
 * Changes whenever a server takes the region over, and at anybody's will: it only
 * says when to look. 0 where there is no region. The caller may touch the BARs.
 */
u64 ivmq_server_epoch(struct ivmq_device *device)
{
	if (device->region_size < IVMQ_HEADER_BYTES ||
	    ivmq_read64(device, IVMQ_HEADER_MAGIC) != IVMQ_REGION_MAGIC)
		return 0;
	return ivmq_read64(device, IVMQ_HEADER_SERVER_EPOCH);
}

/*
 * The vectors that the server gives each of its clients, which anybody can
 * overwrite; 0 if the region does not say. The caller may touch the BARs.
 */
u32 ivmq_server_vectors(struct ivmq_device *device)
{
	struct ivmq_table table;

	return ivmq_read_table(device, &table) ? 0 :
						 ivmq_read32(device, IVMQ_HEADER_SERVER_VECTORS);
}

/*
 * Rings every live peer that can be woken: it may sleep as a receiver, or as a
 * sender until some ring has space. What is read decides only which doorbells
 * are rung, at most one for each slot.
 */
static void ivmq_wake_peers(struct ivmq_device *device, const struct ivmq_table *table)
{
	u32 i;

	if (!device->doorbell)
		return;
	/* The atomic change before is a full barrier: who becomes live later sees it. */
	for (i = 0; i < table->max_peers; i++) {
		u64 slot = table->offset + (u64)i * IVMQ_SLOT_BYTES;
		u64 life = ivmq_read64(device, slot + IVMQ_SLOT_LIFE);
		u32 vector = ivmq_read32(device, slot + IVMQ_SLOT_VECTOR);

		if (IVMQ_LIFE_STATE(life) != IVMQ_STATE_LIVE ||
		    !(IVMQ_LIFE_FLAGS(life) & IVMQ_PEER_WAKEABLE) ||
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
	if (device->doorbell)
		return true;
	/* The owner stores its incarnation, with release, after the boot id. */
	return ivmq_read32(device, slot + IVMQ_SLOT_NAME_INCARNATION) ==
		       IVMQ_LIFE_INCARNATION(owned->live_word) &&
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
	if (sync_cmpxchg(life, claiming, dead) != claiming &&
	    sync_cmpxchg(life, live, dead) != live)
		return false;
	ivmq_increment(ivmq_word(device, IVMQ_HEADER_GENERATION));
	return true;
}

static void ivmq_forget_slot(struct ivmq_file *f, struct ivmq_owned_slot *owned)
{
	list_del(&owned->entry);
	f->slot_count--;
	kfree(owned);
}

/* The slots are not this file's any more, and stay as they are. Under device->lock. */
void ivmq_forget_slots(struct ivmq_file *f)
{
	struct ivmq_owned_slot *owned, *next;

	list_for_each_entry_safe(owned, next, &f->slots, entry)
		ivmq_forget_slot(f, owned);
}

/* Ends all slots of an open file. Under device->lock; a file that is over has none. */
void ivmq_end_slots(struct ivmq_file *f)
{
	struct ivmq_owned_slot *owned, *next;
	struct ivmq_table table;
	bool ended = false;

	list_for_each_entry_safe(owned, next, &f->slots, entry) {
		if (ivmq_end_slot(f->device, owned)) {
			table = owned->table;
			ended = true;
		}
		ivmq_forget_slot(f, owned);
	}
	if (ended)
		ivmq_wake_peers(f->device, &table);
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
	new->slot = array_index_nospec(args->slot, new->table.max_peers);
	new->live_word = args->live_word;
	memcpy(new->boot_id, args->boot_id, sizeof(new->boot_id));
	list_add_tail(&new->entry, &f->slots);
	f->slot_count++;
	return 0;
}

long ivmq_ioctl_register_slot(struct ivmq_file *f, const void __user *user)
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
	owned = kzalloc(sizeof(*owned), GFP_KERNEL_ACCOUNT);
	if (!owned)
		return -ENOMEM;
	mutex_lock(&device->lock);
	ret = f->over ? -ENODEV : ivmq_register_slot(f, &args, owned);
	mutex_unlock(&device->lock);
	if (ret)
		kfree(owned);
	return ret;
}

long ivmq_ioctl_unregister_slot(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_owned_slot *owned;
	long ret = 0;
	u32 slot;

	if (copy_from_user(&slot, user, sizeof(slot)))
		return -EFAULT;
	mutex_lock(&f->device->lock);
	owned = ivmq_find_slot(f, slot);
	if (!owned)
		ret = -EINVAL;
	else if (f->mm != current->mm)
		ret = -EPERM;	/* a child that has inherited the file */
	else
		ivmq_forget_slot(f, owned);
	mutex_unlock(&f->device->lock);
	return ret;
}
