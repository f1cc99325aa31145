// SPDX-License-Identifier: GPL-2.0
/* Mappings of the region into processes. */

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/version.h>

#include "device.h"

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

int ivmq_mmap(struct file *file, struct vm_area_struct *vma)
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
