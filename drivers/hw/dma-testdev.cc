// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that does nothing but DMA: see dma-testdev.h. No kernel counterpart.
 */
#include "drivers/hw/dma-testdev.h"

#include <new>

using CONTROL = dma_testdev_regs::CONTROL;
using STATUS = dma_testdev_regs::STATUS;
using PASID = dma_testdev_regs::PASID;
using IOVA = dma_testdev_regs::IOVA;
using LENGTH = dma_testdev_regs::LENGTH;
using DONE = dma_testdev_regs::DONE;
using PRI_GRPID = dma_testdev_regs::PRI_GRPID;
using PRI_RESPONSE = dma_testdev_regs::PRI_RESPONSE;
using ATC_ENTRIES = dma_testdev_regs::ATC_ENTRIES;
using QUIRKS = dma_testdev_regs::QUIRKS;

/* The SMMU calls with its lock held, which the analysis knows by another name. */
static void smmu_lock_is_held(const struct dma_testdev *dev) __assumes_lock(dev->smmu->lock)
{
	(void)dev;
}

static void set_status(struct dma_testdev *dev, enum dma_testdev_status status)
	__must_hold(dev->smmu->lock)
{
	STATUS r;

	r.raw = status;
	dev->regs.set(r);
}

static bool is_busy(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	return dev->regs.get<STATUS>().raw == DMA_TESTDEV_BUSY;
}

/* ---- the ATC ---- */

static void count_atc(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	ATC_ENTRIES r;

	for (const struct dma_testdev_atc_entry &e : dev->atc)
		r.raw += e.valid;
	dev->regs.set(r);
}

static struct dma_testdev_atc_entry *find_atc(struct dma_testdev *dev, const struct hw_txn *txn)
	__must_hold(dev->smmu->lock)
{
	for (struct dma_testdev_atc_entry &e : dev->atc)
		if (e.valid && e.ssv == txn->ssv && (!e.ssv || e.ssid == txn->ssid) &&
		    (e.iova ^ txn->iova) >> e.shift == 0)
			return &e;
	return nullptr;
}

/* What allows @txn, asked for when it is not there. NULL: the answer does not allow it. */
static struct dma_testdev_atc_entry *get_atc(struct dma_testdev *dev, const struct hw_txn *txn)
	__must_hold(dev->smmu->lock)
{
	struct dma_testdev_atc_entry *e = find_atc(dev, txn);
	struct hw_translation out;

	if (e && (txn->write ? e->write : e->read))
		return e;
	if (__smmuv3_hw_translate(dev->smmu, txn, true, &out) != HW_TXN_OK ||
	    !(txn->write ? out.write : out.read))
		return nullptr;
	if (!e) {
		e = &dev->atc[dev->atc_next];
		dev->atc_next = (dev->atc_next + 1) % DMA_TESTDEV_ATC_ENTRIES;
	}
	*e = {.valid = true,
	      .ssv = txn->ssv,
	      .ssid = txn->ssid,
	      .iova = txn->iova >> out.shift << out.shift,
	      .pa = out.pa >> out.shift << out.shift,
	      .shift = out.shift,
	      .read = out.read,
	      .write = out.write};
	count_atc(dev);
	return e;
}

static bool testdev_atc_inv(struct hw_endpoint *ep, bool ssv, u32 ssid, bool global, u64 first,
			    u64 last)
{
	struct dma_testdev *dev = static_cast<struct dma_testdev *>(ep);

	smmu_lock_is_held(dev);
	if (QUIRKS::ATC_DEAF::get(dev->regs.get<QUIRKS>()))
		return false;
	if (QUIRKS::ATC_KEEP::get(dev->regs.get<QUIRKS>()))
		return true;
	for (struct dma_testdev_atc_entry &e : dev->atc) {
		u64 end = e.iova + ((1ULL << e.shift) - 1);

		if (e.valid && e.iova <= last && first <= end &&
		    ((ssv && global) || (e.ssv == ssv && (!ssv || e.ssid == ssid))))
			e.valid = false;
	}
	count_atc(dev);
	return true;
}

/* ---- accesses ---- */

static enum hw_txn_status through_atc(struct dma_testdev *dev, struct hw_txn txn, size_t len,
				      size_t *done, u16 *stag) __must_hold(dev->smmu->lock)
{
	while (*done != len) {
		const size_t n = min(len - *done, (size_t)(PAGE_SIZE - offset_in_page(txn.iova)));
		const struct dma_testdev_atc_entry *e = get_atc(dev, &txn);
		struct hw_txn translated = txn;
		enum hw_txn_status rc;
		size_t part = 0;

		if (!e)
			return HW_TXN_ABORT;
		translated.translated = true;
		translated.iova = e->pa + (txn.iova - e->iova);
		rc = __smmuv3_hw_dma(dev->smmu, translated, dev->buffer + *done, n, &part, stag);
		*done += part;
		if (rc != HW_TXN_OK)
			return rc;
		txn.iova += n;
	}
	return HW_TXN_OK;
}

static struct hw_txn transaction(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	const CONTROL control = dev->regs.get<CONTROL>();
	struct hw_txn txn;

	txn.sid = dev->sid;
	txn.ssv = CONTROL::SSV::get(control);
	txn.ssid = txn.ssv ? PASID::VALUE::get(dev->regs.get<PASID>()) : 0;
	txn.iova = dev->regs.get<IOVA>().raw;
	txn.write = CONTROL::OP::get(control) == DMA_TESTDEV_WRITE;
	txn.priv = CONTROL::PRIV::get(control);
	return txn;
}

/* From where it stands on. */
static void run(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	const size_t len = dev->regs.get<LENGTH>().raw;
	struct hw_txn txn = transaction(dev);
	size_t done = dev->regs.get<DONE>().raw;
	enum hw_txn_status rc;
	DONE r;

	txn.iova += done;
	rc = CONTROL::ATC::get(dev->regs.get<CONTROL>())
		     ? through_atc(dev, txn, len, &done, &dev->stag)
		     : __smmuv3_hw_dma(dev->smmu, txn, dev->buffer, len, &done, &dev->stag);
	r.raw = (u32)done;
	dev->regs.set(r);
	switch (rc) {
	case HW_TXN_OK:
		set_status(dev, DMA_TESTDEV_OK);
		break;
	case HW_TXN_STALLED:
		set_status(dev, DMA_TESTDEV_BUSY);
		break;
	case HW_TXN_BUS:
		set_status(dev, DMA_TESTDEV_BUS);
		break;
	case HW_TXN_ABORT:
		set_status(dev, DMA_TESTDEV_ABORTED);
		break;
	}
}

static void page_request(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	struct hw_txn txn = transaction(dev);

	txn.write = CONTROL::PRI_WRITE::get(dev->regs.get<CONTROL>());
	dev->regs.set(PRI_RESPONSE{});
	set_status(dev, __smmuv3_hw_page_request(
				dev->smmu, &txn,
				(u16)PRI_GRPID::VALUE::get(dev->regs.get<PRI_GRPID>()), true)
				? DMA_TESTDEV_OK
				: DMA_TESTDEV_ABORTED);
}

static void start(struct dma_testdev *dev, u32 val) __must_hold(dev->smmu->lock)
{
	const u32 len = dev->regs.get<LENGTH>().raw;
	CONTROL control;

	if (is_busy(dev))
		return;
	control.raw = val & (CONTROL::OP::mask | CONTROL::SSV::mask | CONTROL::PRIV::mask |
			     CONTROL::ATC::mask | CONTROL::PRI_WRITE::mask);
	dev->regs.set(control);
	dev->regs.set(DONE{});
	switch (CONTROL::OP::get(control)) {
	case DMA_TESTDEV_READ:
	case DMA_TESTDEV_WRITE:
		if (len && len <= DMA_TESTDEV_BUFFER_SIZE)
			return run(dev);
		break;
	case DMA_TESTDEV_PRI:
		return page_request(dev);
	default:
		break;
	}
	set_status(dev, DMA_TESTDEV_INVALID);
}

static void testdev_resume(struct hw_endpoint *ep, u16 stag, u8 resp)
{
	struct dma_testdev *dev = static_cast<struct dma_testdev *>(ep);

	smmu_lock_is_held(dev);
	if (!is_busy(dev) || dev->stag != stag)
		return;
	if (resp == RESUME_RETRY)
		run(dev);
	else
		set_status(dev, DMA_TESTDEV_ABORTED);
}

static void testdev_pri_resp(struct hw_endpoint *ep, u16 grpid, u8 resp)
{
	struct dma_testdev *dev = static_cast<struct dma_testdev *>(ep);
	PRI_RESPONSE r;

	smmu_lock_is_held(dev);
	if (grpid != PRI_GRPID::VALUE::get(dev->regs.get<PRI_GRPID>()))
		return;
	PRI_RESPONSE::RESP::set(r, resp);
	PRI_RESPONSE::VALID::set(r, 1);
	dev->regs.set(r);
}

static const struct hw_endpoint_ops testdev_ops = {
	.atc_inv = testdev_atc_inv,
	.pri_resp = testdev_pri_resp,
	.resume = testdev_resume,
};

/* ---- registers ---- */

static bool write32(struct dma_testdev *dev, u32 off, u32 val) __must_hold(dev->smmu->lock)
{
	switch (off) {
	case CONTROL::offset:
		start(dev, val);
		return true;
	case PASID::offset:
		val &= PASID::VALUE::mask;
		break;
	case PRI_GRPID::offset:
		val &= PRI_GRPID::VALUE::mask;
		break;
	case PRI_RESPONSE::offset:
		val = 0;
		break;
	case QUIRKS::offset:
		val &= QUIRKS::ATC_DEAF::mask | QUIRKS::ATC_KEEP::mask;
		break;
	case IOVA::offset:
	case IOVA::offset + 4:
	case LENGTH::offset:
		break;
	default:
		return false;
	}
	/* What an access waits with stays as it is. */
	if (!is_busy(dev) || off == QUIRKS::offset || off == PRI_RESPONSE::offset)
		dev->regs.store(off, 4, val);
	return true;
}

static bool testdev_read(void *opaque, u64 off, unsigned int size, u64 *val)
{
	struct dma_testdev *dev = static_cast<struct dma_testdev *>(opaque);
	smmuv3_hw_guard g(dev->smmu);

	if (off >= dma_testdev_regs::buffer)
		memcpy(val, dev->buffer + (off - dma_testdev_regs::buffer), size);
	else if (off + size <= dma_testdev_regs::end)
		*val = dev->regs.load((u32)off, size);
	else
		return false;
	return true;
}

static bool testdev_write(void *opaque, u64 off, unsigned int size, u64 val)
{
	struct dma_testdev *dev = static_cast<struct dma_testdev *>(opaque);
	smmuv3_hw_guard g(dev->smmu);

	if (off >= dma_testdev_regs::buffer) {
		memcpy(dev->buffer + (off - dma_testdev_regs::buffer), &val, size);
		return true;
	}
	for (u32 i = 0; i != size; i += 4)
		if (!write32(dev, (u32)off + i, (u32)(val >> 8 * i)))
			return false;
	return true;
}

static const struct mmio_ops testdev_mmio_ops = {
	.read = testdev_read,
	.write = testdev_write,
};

/* ---- its life ---- */

static void reset(struct dma_testdev *dev) __must_hold(dev->smmu->lock)
{
	dma_testdev_regs::ID id;

	dev->regs = {};
	id.raw = dma_testdev_regs::ID::value;
	dev->regs.set(id);
	memset(dev->buffer, 0, sizeof(dev->buffer));
	for (struct dma_testdev_atc_entry &e : dev->atc)
		e.valid = false;
}

void dma_testdev_reset(struct dma_testdev *dev)
{
	smmuv3_hw_guard g(dev->smmu);

	reset(dev);
}

result<struct dma_testdev *> dma_testdev_create(struct smmuv3_hw *smmu,
						const struct dma_testdev_config *config)
{
	struct dma_testdev *dev = new (std::nothrow) struct dma_testdev(smmu);
	int rc;

	if (!dev)
		return -ENOMEM;
	dev->config = *config;
	dev->ops = &testdev_ops;
	dev->sid = config->sid;
	dma_testdev_reset(dev);
	dev->region.name = config->name;
	dev->region.phys = config->phys;
	dev->region.size = DMA_TESTDEV_REGION_SIZE;
	dev->region.ops = &testdev_mmio_ops;
	dev->region.opaque = dev;
	rc = smmuv3_hw_add_endpoint(smmu, dev);
	if (!rc) {
		rc = mmio_register(smmu->config.kernel, &dev->region);
		if (rc)
			smmuv3_hw_remove_endpoint(smmu, dev);
	}
	if (rc) {
		delete dev;
		return rc;
	}
	return dev;
}

void dma_testdev_destroy(struct dma_testdev *dev)
{
	if (!dev)
		return;
	mmio_unregister(dev->smmu->config.kernel, &dev->region);
	smmuv3_hw_remove_endpoint(dev->smmu, dev);
	delete dev;
}
