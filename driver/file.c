// SPDX-License-Identifier: GPL-2.0
/* Open files: what programs call; see uapi/ivmq.h. */

#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"
#include "ivmq.h"

/*
 * Whether the file is over, or its device turns out to have moved (`*moved`). To
 * ask the device is an exit of the virtual machine, so without `always` that is
 * only done where the region says that another server has it. Under
 * device->removal.
 */
static bool ivmq_is_over(struct ivmq_file *f, bool always, bool *moved)
{
	struct ivmq_device *device = f->device;

	*moved = !f->over &&
		 (always || ivmq_server_epoch(device) != READ_ONCE(device->server_epoch)) &&
		 ivmq_update_ivposition(device);
	return f->over || *moved;
}

/* Looks whether the file is over, and ends all files if the device has moved. */
static bool ivmq_look(struct ivmq_file *f, bool always)
{
	bool over, moved;

	down_read(&f->device->removal);
	over = ivmq_is_over(f, always, &moved);
	up_read(&f->device->removal);
	if (moved)
		ivmq_cut_off(f->device);
	return over;
}

static long ivmq_ioctl_info(struct ivmq_file *f, void __user *user)
{
	struct ivmq_device *device = f->device;
	struct ivmq_info info = {
		.api_version = IVMQ_API_VERSION,
		.region_size = device->region_size,
		.ivposition = IVMQ_NO_IVPOSITION,
		.interrupts = atomic64_read(&device->interrupts),
	};
	unsigned int usable, i;

	if (device->doorbell)
		info.flags |= IVMQ_INFO_DOORBELL;
	if (device->firmware_uncached)
		info.flags |= IVMQ_INFO_FIRMWARE_UNCACHED;
	mutex_lock(&device->lock);
	if (f->over) {
		mutex_unlock(&device->lock);
		return -ENODEV;
	}
	if (device->doorbell)
		info.ivposition = device->ivposition;
	info.vectors = device->vectors;
	info.server_vectors = ivmq_server_vectors(device);
	usable = ivmq_usable_vectors(device);
	for (i = 0; i < usable; i++)
		info.vectors_unused += !device->msix[i].user_count;
	mutex_unlock(&device->lock);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ivmq_ring(struct ivmq_file *f, u32 peer, u32 vector)
{
	struct ivmq_device *device = f->device;
	bool moved;
	long ret = 0;

	if (!(f->file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (peer > U16_MAX || vector >= IVMQ_VECTOR_LIMIT)
		return -EINVAL;
	if (!device->doorbell)
		return -EOPNOTSUPP;
	down_read(&device->removal);
	if (ivmq_is_over(f, false, &moved))
		ret = -ENODEV;
	else
		ivmq_ring_register(device, peer, vector);
	up_read(&device->removal);
	if (moved)
		ivmq_cut_off(device);
	return ret;
}

static long ivmq_ioctl_ring(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_ring args;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	return ivmq_ring(f, args.peer, args.vector);
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

	if (!device->vectors)
		return READ_ONCE(f->over) ? -ENODEV : -EOPNOTSUPP;
	if (f->file->f_flags & O_NONBLOCK)
		return ivmq_take_interrupts(f) ? 0 : -EAGAIN;
	ret = wait_event_interruptible(device->wait,
				       (taken = ivmq_take_interrupts(f)) ||
				       READ_ONCE(f->over));
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

	switch (cmd) {
	case IVMQ_IOC_INFO:
		return ivmq_look(f, true) ? -ENODEV : ivmq_ioctl_info(f, user);
	case IVMQ_IOC_RING:
		/* It looks by itself, under a lock that it needs anyway. */
		return READ_ONCE(f->over) ? -ENODEV : ivmq_ioctl_ring(f, user);
	case IVMQ_IOC_ALLOC_VECTOR:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_alloc_vector(f, user);
	case IVMQ_IOC_FREE_VECTOR:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_free_vector(f, user);
	case IVMQ_IOC_SET_EVENTFD:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_set_eventfd(f, user);
	case IVMQ_IOC_REGISTER_SLOT:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_register_slot(f, user);
	case IVMQ_IOC_UNREGISTER_SLOT:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_unregister_slot(f, user);
	case IVPCI_IOC_RING:
		return READ_ONCE(f->over) ? -ENODEV : ivmq_ioctl_ivpci_ring(f, user);
	case IVPCI_IOC_WAIT:
		return ivmq_look(f, false) ? -ENODEV : ivmq_ioctl_ivpci_wait(f);
	case IVPCI_IOC_IVPOSITION:
		return ivmq_look(f, true) ? -ENODEV : ivmq_ioctl_ivpci_ivposition(f, user);
	default:
		return -ENOTTY;
	}
}

/*
 * Parts all open files from the device. They stay, and hear that they are over.
 * `dead`: their slots are marked so; otherwise the slots are left as they are.
 */
void ivmq_end_files(struct ivmq_device *device, bool dead)
{
	struct ivmq_file *f;

	down_write(&device->removal);
	mutex_lock(&device->lock);
	list_for_each_entry(f, &device->files, entry) {
		WRITE_ONCE(f->over, true);
		if (!dead)
			ivmq_forget_slots(f);
	}
	mutex_unlock(&device->lock);
	up_write(&device->removal);

	mutex_lock(&device->lock);
	/* From here on nobody maps a page of it: first the processes lose theirs, then their slots. */
	ivmq_unmap_files(device);
	list_for_each_entry(f, &device->files, entry) {
		if (!f->over)
			continue;	/* opened since */
		ivmq_end_slots(f);
		ivmq_end_uses(f, true);
		wake_up_interruptible_poll(&f->wait, EPOLLHUP | EPOLLERR);
	}
	mutex_unlock(&device->lock);
	wake_up_interruptible_all(&device->wait);
}

static int ivmq_open(struct inode *inode, struct file *file)
{
	struct ivmq_device *device = container_of(inode->i_cdev, struct ivmq_device, cdev);
	struct ivmq_file *f;
	int ret;

	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->device = device;
	f->file = file;
	INIT_LIST_HEAD(&f->uses);
	INIT_LIST_HEAD(&f->slots);
	mutex_init(&f->mapping);
	xa_init(&f->pages);
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

	mutex_lock(&device->lock);
	list_del(&f->entry);
	ivmq_end_uses(f, false);
	/* Slots have ended with the last mapping, which kept the file. */
	mutex_unlock(&device->lock);
	ivmq_free_pages(f);
	kfree(f);
	put_device(&device->dev);
	return 0;
}

static ssize_t ivmq_read(struct file *file, char __user *user, size_t count, loff_t *position)
{
	struct ivmq_file *f = file->private_data;
	u64 rings = 0;
	int ret;

	if (count < sizeof(rings))
		return -EINVAL;
	for (;;) {
		if (READ_ONCE(f->over))
			return -ENODEV;
		rings = atomic64_xchg(&f->rings, 0);
		if (rings)
			break;
		if (!READ_ONCE(f->counted_uses))
			return -EINVAL;	/* it would wait for ever */
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(f->wait,
					       atomic64_read(&f->rings) ||
					       !READ_ONCE(f->counted_uses) ||
					       READ_ONCE(f->over));
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
	if (READ_ONCE(f->over))
		return EPOLLHUP | EPOLLERR;
	return atomic64_read(&f->rings) ? EPOLLIN | EPOLLRDNORM : 0;
}

const struct file_operations ivmq_fops = {
	.owner = THIS_MODULE,
	.open = ivmq_open,
	.release = ivmq_release,
	.read = ivmq_read,
	.poll = ivmq_poll,
	.mmap = ivmq_mmap,
	/* So that entries of 2 MiB fit. */
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl = ivmq_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
