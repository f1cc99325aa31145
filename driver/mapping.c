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
static vm_fault_t ivmq_map_region(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ivmq_file *f = vma->vm_file->private_data;
	unsigned long table = vmf->address & PMD_MASK;
	unsigned long start = max(vma->vm_start, table);
	unsigned long end = min(vma->vm_end, table + PMD_SIZE);
	struct ivmq_fill fill = {
		.mm = vma->vm_mm,
		.pfn = PHYS_PFN(f->device->region_start) + vma->vm_pgoff +
		       ((start - vma->vm_start) >> PAGE_SHIFT),
		.prot = pgprot_decrypted(vma->vm_page_prot),
	};
	int ret = 0;

	mutex_lock(&f->mapping);
	/* Another thread may have mapped all of it by one entry meanwhile. */
	if (!pmd_leaf(READ_ONCE(*vmf->pmd)))
		ret = apply_to_page_range(vma->vm_mm, start, end - start, ivmq_fill_pte, &fill);
	mutex_unlock(&f->mapping);
	return ret ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* The file's own page in place of one of the region; an error, or NULL if there is no memory. */
static struct page *ivmq_own_page(struct ivmq_file *f, pgoff_t index)
{
	struct page *page = xa_load(&f->pages, index);
	struct page *other;

	if (page)
		return page;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return NULL;
	other = xa_cmpxchg(&f->pages, index, NULL, page, GFP_KERNEL_ACCOUNT);
	if (!other)
		return page;
	__free_page(page);
	return xa_is_err(other) ? NULL : other;
}

/* Once no mapping of the file is left. */
void ivmq_free_pages(struct ivmq_file *f)
{
	unsigned long index;
	struct page *page;

	xa_for_each(&f->pages, index, page)
		__free_page(page);
	xa_destroy(&f->pages);
}

static vm_fault_t ivmq_vm_fault(struct vm_fault *vmf)
{
	struct ivmq_file *f = vmf->vma->vm_file->private_data;
	struct page *page;
	vm_fault_t ret = 0;

	down_read(&f->device->removal);
	if (!f->over)
		ret = ivmq_map_region(vmf);
	up_read(&f->device->removal);
	if (ret)
		return ret;
	page = ivmq_own_page(f, vmf->pgoff);
	return page ? vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(page)) : VM_FAULT_OOM;
}

/*
 * A whole entry of 2 MiB at a time, where the kernel marks such entries as having
 * no struct page (6.12), as it does with single pages. Not by
 * vmf_insert_pfn_pmd(), for the reason given above. An entry may forbid writing
 * though the mapping allows it, so that the kernel hears of the first write
 * (/proc/PID/clear_refs): small pages are no way out of that fault, as the kernel
 * would ask for an entry of 2 MiB again.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && \
	defined(CONFIG_TRANSPARENT_HUGEPAGE)
#define IVMQ_HUGE

static vm_fault_t ivmq_vm_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ivmq_file *f = vma->vm_file->private_data;
	unsigned long start = vmf->address & PMD_MASK;
	pgprot_t prot = pgprot_decrypted(vma->vm_page_prot);
	vm_fault_t ret = VM_FAULT_FALLBACK;
	unsigned long pfn;
	spinlock_t *lock;
	pmd_t pmd;

	if (order != PMD_SHIFT - PAGE_SHIFT || start < vma->vm_start ||
	    vma->vm_end - start < PMD_SIZE)
		return ret;
	pfn = PHYS_PFN(f->device->region_start) + vma->vm_pgoff +
	      ((start - vma->vm_start) >> PAGE_SHIFT);
	if (!IS_ALIGNED(pfn, PMD_SIZE >> PAGE_SHIFT))
		return ret;
	down_read(&f->device->removal);
	if (!f->over) {
		mutex_lock(&f->mapping);
		lock = pmd_lock(vma->vm_mm, vmf->pmd);
		pmd = pmdp_get(vmf->pmd);
		if (pmd_none(pmd))
			pmd = pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, prot)));
		if (pmd_leaf(pmd)) {
			if (vmf->flags & FAULT_FLAG_WRITE)
				pmd = pmd_mkwrite_novma(pmd_mkdirty(pmd));
			set_pmd_at(vma->vm_mm, start, vmf->pmd, pmd_mkyoung(pmd));
			ret = VM_FAULT_NOPAGE;
		}
		spin_unlock(lock);
		mutex_unlock(&f->mapping);
	}
	up_read(&f->device->removal);
	return ret;
}
#endif

/* For debuggers, which cannot pin such pages. */
static int ivmq_vm_access(struct vm_area_struct *vma, unsigned long address, void *buffer, int size,
			  int write)
{
	struct ivmq_file *f = vma->vm_file->private_data;
	u64 offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (address - vma->vm_start);
	void *memory = f->device->region + offset;
	struct page *page;

	/* ptrace() forces its way into mappings that the process itself may not write. */
	if (write && !(vma->vm_flags & VM_WRITE))
		return -EACCES;
	size = min_t(unsigned long, size, PAGE_SIZE - offset_in_page(address));
	down_read(&f->device->removal);
	if (f->over) {
		page = ivmq_own_page(f, offset >> PAGE_SHIFT);
		memory = page ? page_address(page) + offset_in_page(address) : NULL;
	}
	if (!memory)
		size = -ENOMEM;
	else if (write)
		memcpy(memory, buffer, size);
	else
		memcpy(buffer, memory, size);
	up_read(&f->device->removal);
	return size;
}

/* All open files of the device lose what they have mapped, and map it anew when they touch it. */
void ivmq_unmap_files(struct ivmq_device *device)
{
	struct address_space *unmapped = NULL;
	struct ivmq_file *f;

	list_for_each_entry(f, &device->files, entry) {
		/* All files of a node share it: once for each would be quadratic. */
		if (f->file->f_mapping == unmapped)
			continue;
		unmapped = f->file->f_mapping;
		unmap_mapping_range(unmapped, 0, 0, 1);
	}
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
#ifdef IVMQ_HUGE
	.huge_fault = ivmq_vm_huge_fault,
#endif
	.access = ivmq_vm_access,
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
	if (f->over) {
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
