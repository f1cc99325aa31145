// SPDX-License-Identifier: GPL-2.0
/*
 * ivmq - guest driver for QEMU's ivshmem devices, plain and doorbell
 *
 * Each device is /dev/ivmqN; uapi/ivmq.h describes what programs see. This
 * file: how devices, and the module, come and go.
 */

#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "device.h"
#include "ivmq.h"
#include "region.h"

#define IVMQ_MAX_DEVICES	256

static char *devices[IVMQ_MAX_DEVICES];
static unsigned int device_count;
module_param_array(devices, charp, &device_count, 0444);
MODULE_PARM_DESC(devices,
		 "PCI addresses (0000:00:04.0,...) of devices to take though their memory holds no region of ivmq, or \"any\"");

static dev_t ivmq_devt;
static DEFINE_IDA(ivmq_ida);

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

static bool ivmq_is_named(struct pci_dev *pdev)
{
	unsigned int i;

	for (i = 0; i < device_count; i++) {
		if (!strcmp(devices[i], "any") || !strcmp(devices[i], pci_name(pdev)))
			return true;
	}
	return false;
}

/*
 * Others use ivshmem devices as well, and their drivers have the same modalias: a
 * device is ours by what its memory holds, or because the user says so.
 */
static bool ivmq_is_ours(struct ivmq_device *device)
{
	return READ_ONCE(*(u64 *)(device->region + IVMQ_HEADER_MAGIC)) == IVMQ_REGION_MAGIC ||
	       ivmq_is_named(device->pdev);
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

/* The last that the device does. */
static void ivmq_detach(struct ivmq_device *device)
{
	mutex_lock(&device->lock);
	device->gone = true;
	mutex_unlock(&device->lock);
	ivmq_end_files(device, true);
	ivmq_free_interrupts(device);
}

/*
 * Asks the device for its ivposition. Whether it is another one than the last
 * time: then ivmq_cut_off() is due. The caller may touch the BARs.
 */
bool ivmq_update_ivposition(struct ivmq_device *device)
{
	/* Before the register: a later change of it is another reason to ask. */
	u64 epoch = ivmq_server_epoch(device);
	u32 before, now;

	mutex_lock(&device->lock);
	before = device->ivposition;
	now = ioread32(device->regs + IVMQ_REG_IVPOSITION);
	device->ivposition = now;
	WRITE_ONCE(device->server_epoch, epoch);
	mutex_unlock(&device->lock);
	return now != before;
}

/*
 * The device has moved to another server, or to another place at the same one.
 * The lives of before are somebody else's concern: their slots name the old
 * ivposition.
 */
void ivmq_cut_off(struct ivmq_device *device)
{
	/* Not by pdev, which may have gone meanwhile. */
	dev_warn(&device->dev, "the ivposition has changed: what had the device open is cut off\n");
	ivmq_end_files(device, false);
}

/* The machine went on after it had stood still: rings may be lost. */
static void ivmq_go_on(struct ivmq_device *device)
{
	if (ivmq_update_ivposition(device))
		ivmq_cut_off(device);
	ivmq_wake_users(device);
}

/*
 * This machine has been restored from a snapshot, perhaps beside the one that it
 * was taken of, which lives in the same slots: what was open before may not
 * touch the region any more, nor mark its slots dead.
 */
static int ivmq_copied(struct notifier_block *copied, unsigned long action, void *data)
{
	struct ivmq_device *device = container_of(copied, struct ivmq_device, copied);

	dev_warn(&device->pdev->dev, "this machine is a copy: what has the device open is cut off\n");
	ivmq_update_ivposition(device);
	ivmq_end_files(device, false);
	return NOTIFY_DONE;
}

/* Kernels tell of it from 5.18 on, if they know a machine's generation id (CONFIG_VMGENID). */
static int ivmq_watch_copies(struct ivmq_device *device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
	return register_random_vmfork_notifier(&device->copied);
#else
	return 0;
#endif
}

static void ivmq_unwatch_copies(struct ivmq_device *device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
	unregister_random_vmfork_notifier(&device->copied);
#endif
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
	/* Others have the memory, too: where a guest's memory is encrypted, this is not. */
	device->region = memremap(device->region_start, device->region_size,
				  MEMREMAP_WB | MEMREMAP_DEC);
	if (!device->region)
		goto unmap_registers;
	if (!ivmq_is_ours(device)) {
		dev_info(&pdev->dev,
			 "left alone: its memory holds no region of ivmq; once it does: echo %s > /sys/bus/pci/drivers/" IVMQ_NAME "/bind\n",
			 pci_name(pdev));
		ret = -ENODEV;
		goto unmap_region;
	}
	device->firmware_uncached = ivmq_is_uncached(device->region);
	ivmq_update_ivposition(device);
	/* Interrupts are memory writes of the device; without this they are dropped. */
	pci_set_master(pdev);
	ret = ivmq_request_interrupts(device);
	if (ret)
		goto clear_master;
	if (device->doorbell && device->ivposition >= IVMQ_NO_IVPOSITION) {
		dev_err(&pdev->dev, "its id %d is not valid; the server must assign one below %u\n",
			(s32)device->ivposition, IVMQ_NO_IVPOSITION);
		ivmq_free_interrupts(device);
		ret = -ENODEV;
		goto clear_master;
	}
	pci_set_drvdata(pdev, device);
	device->copied.notifier_call = ivmq_copied;
	ret = ivmq_watch_copies(device);
	if (ret) {
		ivmq_free_interrupts(device);
		goto clear_master;
	}
	cdev_init(&device->cdev, &ivmq_fops);
	device->cdev.owner = THIS_MODULE;
	ret = cdev_device_add(&device->cdev, &device->dev);
	if (ret) {
		/* For a moment it could be opened. */
		ivmq_unwatch_copies(device);
		ivmq_detach(device);
		goto clear_master;
	}
	if (device->doorbell)
		dev_info(&pdev->dev, "%s: %llu KiB, ivposition %u, %u vectors\n",
			 dev_name(&device->dev), device->region_size >> 10, device->ivposition,
			 device->vectors);
	else
		dev_info(&pdev->dev, "%s: %llu KiB, plain\n", dev_name(&device->dev),
			 device->region_size >> 10);
	return 0;

clear_master:
	pci_clear_master(pdev);
unmap_region:
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
	ivmq_unwatch_copies(device);
	ivmq_detach(device);
	ivmq_release_bars(device);
	put_device(&device->dev);
}

/* The image would wake up in another QEMU, with another region and ivposition. */
static int ivmq_freeze(struct device *dev)
{
	dev_err(dev, "does not survive hibernation: unbind it from ivmq first\n");
	return -EBUSY;
}

static int ivmq_resume(struct device *dev)
{
	ivmq_go_on(dev_get_drvdata(dev));
	return 0;
}

static const struct dev_pm_ops ivmq_pm_ops = {
	.freeze = ivmq_freeze,
	.resume = ivmq_resume,
};

/* Somebody resets the device or its bus: until that is done, nobody touches it. */
static void ivmq_reset_prepare(struct pci_dev *pdev)
{
	struct ivmq_device *device = pci_get_drvdata(pdev);

	down_write(&device->removal);
	mutex_lock(&device->lock);
	ivmq_unmap_files(device);
}

static void ivmq_reset_done(struct pci_dev *pdev)
{
	struct ivmq_device *device = pci_get_drvdata(pdev);

	mutex_unlock(&device->lock);
	up_write(&device->removal);
	ivmq_go_on(device);
}

static const struct pci_error_handlers ivmq_error_handlers = {
	.reset_prepare = ivmq_reset_prepare,
	.reset_done = ivmq_reset_done,
};

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
	.err_handler = &ivmq_error_handlers,
	.driver.pm = &ivmq_pm_ops,
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
