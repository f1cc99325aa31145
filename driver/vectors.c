// SPDX-License-Identifier: GPL-2.0
/* MSI-X vectors: interrupts, and the open files that they go to. */

#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "device.h"
#include "ivmq.h"

/*
 * A peer that rings without end must not take the machine: a vector that exceeds
 * the limit rests. Rings in the rest become one interrupt at its end.
 */
static unsigned int interrupt_limit = 50000;
module_param(interrupt_limit, uint, 0644);
MODULE_PARM_DESC(interrupt_limit,
		 "most interrupts of a vector in a second, checked every 10 ms; 0: no limit");

#define IVMQ_WINDOW		(HZ / 100)
#define IVMQ_REST		(HZ / 100)

static void ivmq_signal(struct eventfd_ctx *eventfd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(eventfd);
#else
	eventfd_signal(eventfd, 1);
#endif
}

/* Under msix->lock. Bounded: IVMQ_USER_LIMIT users, each with an eventfd of its own. */
static void ivmq_tell_users(struct ivmq_msix *msix)
{
	struct ivmq_use *use;

	list_for_each_entry(use, &msix->users, of_msix) {
		if (use->eventfd) {
			ivmq_signal(use->eventfd);
		} else {
			atomic64_inc(&use->file->rings);
			wake_up_interruptible_poll(&use->file->wait, EPOLLIN | EPOLLRDNORM);
		}
	}
}

/* Has every user look: rings may have been lost. */
void ivmq_wake_users(struct ivmq_device *device)
{
	unsigned int i;

	for (i = 0; i < device->vectors; i++) {
		spin_lock_irq(&device->msix[i].lock);
		ivmq_tell_users(&device->msix[i]);
		spin_unlock_irq(&device->msix[i].lock);
	}
	atomic64_inc(&device->interrupts);
	wake_up_interruptible_all(&device->wait);
}

/* Counts an interrupt. Whether there have been too many. Under msix->lock. */
static bool ivmq_is_storm(struct ivmq_msix *msix)
{
	unsigned int limit = READ_ONCE(interrupt_limit);
	unsigned long now = jiffies;

	if (time_after_eq(now, msix->window + IVMQ_WINDOW)) {
		msix->window = now;
		msix->in_window = 0;
	}
	return ++msix->in_window > max(limit / 100, 1U) && limit;
}

static irqreturn_t ivmq_interrupt(int irq, void *data)
{
	struct ivmq_msix *msix = data;
	struct ivmq_device *device = msix->device;

	spin_lock(&msix->lock);
	ivmq_tell_users(msix);
	atomic64_inc(&device->interrupts);
	wake_up_interruptible(&device->wait);
	if (ivmq_is_storm(msix) && !msix->ending) {
		disable_irq_nosync(irq);
		schedule_delayed_work(&msix->rest, IVMQ_REST);
		dev_warn_once(&device->pdev->dev,
			      "vector %u is rung without end; it is masked from time to time\n",
			      msix->index);
	}
	spin_unlock(&msix->lock);
	return IRQ_HANDLED;
}

static void ivmq_end_rest(struct work_struct *work)
{
	struct ivmq_msix *msix = container_of(work, struct ivmq_msix, rest.work);

	enable_irq(msix->irq);
}

void ivmq_free_interrupts(struct ivmq_device *device)
{
	unsigned int i;

	for (i = 0; i < device->vectors; i++) {
		struct ivmq_msix *msix = &device->msix[i];

		spin_lock_irq(&msix->lock);
		msix->ending = true;
		spin_unlock_irq(&msix->lock);
		cancel_delayed_work_sync(&msix->rest);
		free_irq(msix->irq, msix);
	}
	if (device->vectors)
		pci_free_irq_vectors(device->pdev);
	device->vectors = 0;
}

int ivmq_request_interrupts(struct ivmq_device *device)
{
	struct pci_dev *pdev = device->pdev;
	int wanted, got, ret;

	/* The capability tells doorbell devices from plain ones; ivposition 0 is valid. */
	wanted = pci_msix_vec_count(pdev);
	if (wanted <= 0)
		return 0;
	device->doorbell = true;
	got = pci_alloc_irq_vectors(pdev, 1, wanted, PCI_IRQ_MSIX);
	if (got < 0) {
		dev_warn(&pdev->dev, "no MSI-X (%d): peers can be rung, but cannot ring\n", got);
		return 0;
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
		INIT_DELAYED_WORK(&msix->rest, ivmq_end_rest);
		snprintf(msix->name, sizeof(msix->name), IVMQ_NAME "%d-%u", device->id,
			 msix->index);
		ret = request_irq(msix->irq, ivmq_interrupt, 0, msix->name, msix);
		if (ret) {
			dev_err(&pdev->dev, "vector %u cannot be used: %d\n", msix->index, ret);
			if (device->vectors)
				ivmq_free_interrupts(device);
			else
				pci_free_irq_vectors(pdev);
			return ret;
		}
	}
	return 0;
}

/*
 * Vectors that both the device and the server have: those beyond can be rung by
 * nobody. The caller may touch the BARs.
 */
unsigned int ivmq_usable_vectors(struct ivmq_device *device)
{
	u32 server = ivmq_server_vectors(device);

	return server ? min(server, device->vectors) : device->vectors;
}

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

/* Under device->lock, when a use begins or ends to be counted for read(). */
static void ivmq_count_use(struct ivmq_file *f, int change)
{
	WRITE_ONCE(f->counted_uses, f->counted_uses + change);
	if (!f->counted_uses)
		wake_up_interruptible(&f->wait);
}

static void ivmq_end_use(struct ivmq_use *use)
{
	struct ivmq_msix *msix = use->msix;

	spin_lock_irq(&msix->lock);
	list_del(&use->of_msix);
	spin_unlock_irq(&msix->lock);
	msix->user_count--;
	list_del(&use->of_file);
	if (!use->eventfd)
		ivmq_count_use(use->file, -1);
	ivmq_put_eventfd(use->eventfd);
	kfree(use);
}

/* Gives all vectors of an open file back. `tell`: it hears of it as of a ring. Under device->lock. */
void ivmq_end_uses(struct ivmq_file *f, bool tell)
{
	struct ivmq_use *use, *next;

	list_for_each_entry_safe(use, next, &f->uses, of_file) {
		if (tell && use->eventfd)
			ivmq_signal(use->eventfd);
		ivmq_end_use(use);
	}
}

/* Whether another user of the vector than `self` has the eventfd. */
static bool ivmq_is_bound(struct ivmq_msix *msix, const struct ivmq_use *self,
			  const struct eventfd_ctx *eventfd)
{
	struct ivmq_use *use;

	if (!eventfd)
		return false;
	list_for_each_entry(use, &msix->users, of_msix) {
		if (use != self && use->eventfd == eventfd)
			return true;
	}
	return false;
}

static int ivmq_choose_vector(struct ivmq_file *f, const struct ivmq_vector *args,
			      const struct eventfd_ctx *eventfd)
{
	struct ivmq_device *device = f->device;
	unsigned int usable = ivmq_usable_vectors(device);
	int best = -ENOSPC;
	unsigned int i;

	if (args->flags & IVMQ_VECTOR_EXACT) {
		if (args->vector >= usable)
			return -EINVAL;
		i = array_index_nospec(args->vector, usable);
		if (ivmq_find_use(f, i) || ivmq_is_bound(&device->msix[i], NULL, eventfd))
			return -EBUSY;
		return device->msix[i].user_count < IVMQ_USER_LIMIT ? i : -ENOSPC;
	}
	for (i = 0; i < usable; i++) {
		unsigned int count = device->msix[i].user_count;

		if (count < IVMQ_USER_LIMIT && !ivmq_find_use(f, i) &&
		    !ivmq_is_bound(&device->msix[i], NULL, eventfd) &&
		    (best < 0 || count < device->msix[best].user_count))
			best = i;
	}
	return best;
}

static int ivmq_alloc_vector(struct ivmq_file *f, struct ivmq_vector *args,
			     struct eventfd_ctx *eventfd, struct ivmq_use *use)
{
	int vector = ivmq_choose_vector(f, args, eventfd);

	if (vector < 0)
		return vector;
	use->file = f;
	use->msix = &f->device->msix[vector];
	use->eventfd = eventfd;
	list_add_tail(&use->of_file, &f->uses);
	if (!eventfd)
		ivmq_count_use(f, 1);
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
	if (ivmq_is_bound(use->msix, use, *eventfd))
		return -EBUSY;
	spin_lock_irq(&use->msix->lock);
	swap(use->eventfd, *eventfd);
	spin_unlock_irq(&use->msix->lock);
	if (!use->eventfd != !*eventfd)
		ivmq_count_use(f, use->eventfd ? -1 : 1);
	if (use->eventfd && atomic64_read(&f->rings))
		ivmq_signal(use->eventfd);
	return 0;
}

long ivmq_ioctl_alloc_vector(struct ivmq_file *f, void __user *user)
{
	struct ivmq_device *device = f->device;
	struct eventfd_ctx *eventfd;
	struct ivmq_vector args;
	struct ivmq_use *use;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~IVMQ_VECTOR_EXACT)
		return -EINVAL;
	if (!device->vectors)
		return -EOPNOTSUPP;
	eventfd = ivmq_get_eventfd(args.eventfd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	use = kzalloc(sizeof(*use), GFP_KERNEL_ACCOUNT);
	if (!use) {
		ivmq_put_eventfd(eventfd);
		return -ENOMEM;
	}
	mutex_lock(&device->lock);
	ret = f->over ? -ENODEV : ivmq_alloc_vector(f, &args, eventfd, use);
	mutex_unlock(&device->lock);
	if (ret) {
		ivmq_put_eventfd(eventfd);
		kfree(use);
		return ret;
	}
	if (copy_to_user(user, &args, sizeof(args))) {
		mutex_lock(&device->lock);
		use = ivmq_find_use(f, args.vector);
		if (use)
			ivmq_end_use(use);
		mutex_unlock(&device->lock);
		return -EFAULT;
	}
	return 0;
}

long ivmq_ioctl_free_vector(struct ivmq_file *f, const void __user *user)
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

long ivmq_ioctl_set_eventfd(struct ivmq_file *f, const void __user *user)
{
	struct ivmq_device *device = f->device;
	struct eventfd_ctx *eventfd;
	struct ivmq_eventfd args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (!device->vectors)
		return -EOPNOTSUPP;
	eventfd = ivmq_get_eventfd(args.eventfd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&device->lock);
	ret = f->over ? -ENODEV : ivmq_set_eventfd(f, args.vector, &eventfd);
	mutex_unlock(&device->lock);
	ivmq_put_eventfd(eventfd);
	return ret;
}
