// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The SMMUv3 driver for iommufd: hardware information, nested domains from a guest's stream table
 * entry, vSMMUs, invalidations and events.
 *
 * Mirrors drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c of Linux 7.2 and, in the functions
 * that end in _v2 or _alloc, of v6.15 with the vCMDQ series v2. It differs in this: a vDEVICE of
 * the series' form is refused for a device with more than one stream as it is in 7.2.
 */
#include "drivers/arm-smmu-v3/arm-smmu-v3.h"

static struct arm_smmu_master *dev_to_master(struct device *dev)
{
	return static_cast<struct arm_smmu_master *>(dev_iommu_priv_get(dev));
}

static struct iommu_hw_info_arm_smmuv3 *arm_smmu_read_hw_info(struct arm_smmu_device *smmu)
{
	auto *info = static_cast<struct iommu_hw_info_arm_smmuv3 *>(
		kzalloc(sizeof(struct iommu_hw_info_arm_smmuv3), GFP_KERNEL));

	if (!info)
		return nullptr;
	for (unsigned int i = 0; i < ARRAY_SIZE(info->idr); i++)
		info->idr[i] = readl_relaxed(smmu->base + ARM_SMMU_IDR0 + i * 4);
	info->iidr = readl_relaxed(smmu->base + ARM_SMMU_IIDR);
	info->aidr = readl_relaxed(smmu->base + ARM_SMMU_AIDR);
	return info;
}

result<void *> arm_smmu_hw_info(struct device *dev, u32 *length, enum iommu_hw_info_type *type)
{
	struct arm_smmu_device *smmu = dev_to_master(dev)->smmu;

	if (*type != IOMMU_HW_INFO_TYPE_DEFAULT && *type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) {
		if (!smmu->impl_ops || !smmu->impl_ops->hw_info)
			return -EOPNOTSUPP;
		return smmu->impl_ops->hw_info(smmu, length, type);
	}

	struct iommu_hw_info_arm_smmuv3 *info = arm_smmu_read_hw_info(smmu);

	if (!info)
		return -ENOMEM;
	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	return static_cast<void *>(info);
}

result<void *> arm_smmu_hw_info_v2(struct device *dev, u32 *length, enum iommu_hw_info_type *type)
{
	struct arm_smmu_device *smmu = dev_to_master(dev)->smmu;
	struct iommu_hw_info_arm_smmuv3 *info = arm_smmu_read_hw_info(smmu);

	if (!info)
		return -ENOMEM;
	if (smmu->impl_ops && smmu->impl_ops->hw_info_v2) {
		u32 impl = 0;
		const u32 flags = smmu->impl_ops->hw_info_v2(smmu, &impl);

		if (flags) {
			info->impl = impl;
			info->flags |= flags;
		}
	}
	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	return static_cast<void *>(info);
}

/* ---- nested domains ---- */

static u64 arm_smmu_vste_cfg(const struct arm_smmu_nested_domain *nested_domain)
{
	/* an entry that is not valid faults as one that aborts */
	if (!(nested_domain->ste[0] & STRTAB_STE_0_V))
		return STRTAB_STE_0_CFG_ABORT;
	return FIELD_GET(STRTAB_STE_0_CFG, nested_domain->ste[0]);
}

/* The guest's table over our stage 2. */
static void arm_smmu_make_nested_cd_table_ste(struct arm_smmu_ste *target,
					      struct arm_smmu_master *master,
					      const struct arm_smmu_nested_domain *nested_domain,
					      bool ats_enabled)
{
	arm_smmu_make_s2_domain_ste(target, master, nested_domain->vsmmu->s2_parent, ats_enabled);
	target->data[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_NESTED) |
			  (nested_domain->ste[0] & ~STRTAB_STE_0_CFG);
	/* a guest that faults in a loop costs one event */
	target->data[1] |= nested_domain->ste[1] | STRTAB_STE_1_MEV;
}

/*
 * The entry for what the guest wants: its table over our stage 2, stage 2 alone where it bypasses,
 * or nothing.
 */
static void arm_smmu_make_nested_domain_ste(struct arm_smmu_ste *target,
					    struct arm_smmu_master *master,
					    const struct arm_smmu_nested_domain *nested_domain,
					    bool ats_enabled)
{
	switch (arm_smmu_vste_cfg(nested_domain)) {
	case STRTAB_STE_0_CFG_S1_TRANS:
		arm_smmu_make_nested_cd_table_ste(target, master, nested_domain, ats_enabled);
		break;
	case STRTAB_STE_0_CFG_BYPASS:
		arm_smmu_make_s2_domain_ste(target, master, nested_domain->vsmmu->s2_parent,
					    ats_enabled);
		break;
	default:
		arm_smmu_make_abort_ste(target);
		break;
	}
}

int arm_smmu_attach_prepare_vmaster(struct arm_smmu_attach_state *state,
				    struct arm_smmu_nested_domain *nested_domain)
{
	const u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, nested_domain->ste[0]);
	unsigned long vsid;

	iommu_group_mutex_assert(state->master->dev);

	int ret = iommufd_viommu_get_vdev_id(nested_domain->vsmmu, state->master->dev, &vsid);

	/*
	 * Invalidations and events of a guest's table need to know how the guest calls the device.
	 * Without a table there is nothing to invalidate or to tell.
	 */
	if (ret)
		return cfg == STRTAB_STE_0_CFG_ABORT || cfg == STRTAB_STE_0_CFG_BYPASS ? 0 : ret;

	auto *vmaster = kzalloc_obj<struct arm_smmu_vmaster>();

	if (!vmaster)
		return -ENOMEM;
	vmaster->vsmmu = nested_domain->vsmmu;
	vmaster->vsid = vsid;
	state->vmaster = vmaster;
	return 0;
}

void arm_smmu_attach_commit_vmaster(struct arm_smmu_attach_state *state)
{
	struct arm_smmu_master *master = state->master;
	mutex_guard streams(&master->smmu->streams_mutex);

	kfree_obj(master->vmaster);
	master->vmaster = state->vmaster;
}

void arm_smmu_master_clear_vmaster(struct arm_smmu_master *master)
{
	struct arm_smmu_attach_state state = {.master = master};

	arm_smmu_attach_commit_vmaster(&state);
}

static int arm_smmu_attach_dev_nested(struct iommu_domain *domain, struct device *dev,
				      struct iommu_domain *old_domain)
{
	struct arm_smmu_nested_domain *nested_domain = to_smmu_nested_domain(domain);
	struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_attach_state state = {.old_domain = old_domain, .master = master};
	struct arm_smmu_ste ste;

	if (nested_domain->vsmmu->smmu != master->smmu)
		return -EINVAL;
	if (arm_smmu_ssids_in_use(&master->cd_table))
		return -EBUSY;

	mutex_guard asid(&state.master->smmu->asid_lock);

	/*
	 * The guest's word on whether its device has ATS on is EATS in its entry: if that is set it
	 * will invalidate the device as well.
	 */
	if (FIELD_GET(STRTAB_STE_0_CFG, nested_domain->ste[0]) == STRTAB_STE_0_CFG_S1_TRANS)
		state.disable_ats = !nested_domain->enable_ats;
	if (int ret = arm_smmu_attach_prepare(&state, domain))
		return ret;
	arm_smmu_make_nested_domain_ste(&ste, master, nested_domain, state.ats_enabled);
	arm_smmu_install_ste_for_dev(master, &ste);
	arm_smmu_attach_commit(&state);
	return 0;
}

static void arm_smmu_domain_nested_free(struct iommu_domain *domain)
{
	kfree_obj(to_smmu_nested_domain(domain));
}

static const struct iommu_domain_ops arm_smmu_nested_ops = {
	.attach_dev = arm_smmu_attach_dev_nested,
	.free = arm_smmu_domain_nested_free,
};

/*
 * 0, with EATS taken out of the entry; an entry that is not valid becomes zero. -EIO, and only
 * that: the entry says what a guest's cannot.
 */
static int arm_smmu_validate_vste(struct iommu_hwpt_arm_smmuv3 *arg, bool *enable_ats)
{
	if (!(arg->ste[0] & STRTAB_STE_0_V)) {
		*arg = {};
		return 0;
	}
	if (arg->ste[0] & ~STRTAB_STE_0_NESTING_ALLOWED ||
	    arg->ste[1] & ~STRTAB_STE_1_NESTING_ALLOWED)
		return -EIO;

	const u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, arg->ste[0]);

	if (cfg != STRTAB_STE_0_CFG_ABORT && cfg != STRTAB_STE_0_CFG_BYPASS &&
	    cfg != STRTAB_STE_0_CFG_S1_TRANS)
		return -EIO;

	/* translated by the device, or not at all */
	const u64 eats = FIELD_GET(STRTAB_STE_1_EATS, arg->ste[1]);

	arg->ste[1] &= ~STRTAB_STE_1_EATS;
	if (eats != STRTAB_STE_1_EATS_ABT && eats != STRTAB_STE_1_EATS_TRANS)
		return -EIO;
	if (cfg == STRTAB_STE_0_CFG_S1_TRANS)
		*enable_ats = eats == STRTAB_STE_1_EATS_TRANS;
	return 0;
}

result<struct iommu_domain *> arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu,
							    u32 flags,
							    const struct iommu_user_data *user_data)
{
	struct iommu_hwpt_arm_smmuv3 arg;
	bool enable_ats = false;

	if (flags)
		return -EOPNOTSUPP;
	if (int ret = iommu_copy_struct_from_user(&arg, user_data, IOMMU_HWPT_DATA_ARM_SMMUV3, ste))
		return ret;
	if (int ret = arm_smmu_validate_vste(&arg, &enable_ats))
		return ret;

	auto *nested_domain = kzalloc_obj<struct arm_smmu_nested_domain>();

	if (!nested_domain)
		return -ENOMEM;
	nested_domain->type = IOMMU_DOMAIN_NESTED;
	nested_domain->ops = &arm_smmu_nested_ops;
	nested_domain->enable_ats = enable_ats;
	nested_domain->vsmmu = static_cast<struct arm_vsmmu *>(viommu);
	nested_domain->ste[0] = arg.ste[0];
	nested_domain->ste[1] = arg.ste[1];
	return nested_domain;
}

/* ---- vSMMUs ---- */

/* -EIO: the guest has no such device. */
static int arm_vsmmu_vsid_to_sid(struct arm_vsmmu *vsmmu, u32 vsid, u32 *sid)
{
	xa_guard vdevs(&vsmmu->vdevs);
	struct device *dev = iommufd_viommu_find_dev(vsmmu, vsid);

	if (!dev)
		return -EIO;
	*sid = dev_to_master(dev)->streams[0].id;
	return 0;
}

/* Only one stream has a virtual id: what other streams cached would stay. */
static bool arm_vsmmu_can_have(struct device *dev)
{
	return dev_to_master(dev)->num_streams == 1;
}

static int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
{
	return arm_vsmmu_can_have(iommufd_vdevice_to_device(vdev)) ? 0 : -EOPNOTSUPP;
}

static result<struct iommufd_vdevice *> arm_vsmmu_vdevice_alloc(struct iommufd_viommu *viommu,
								struct device *dev, u64)
{
	if (!arm_vsmmu_can_have(dev))
		return -EOPNOTSUPP;
	return iommufd_vdevice_alloc<struct iommufd_vdevice>(viommu);
}

/*
 * A guest's command into one of ours, in place: its VMID and its stream id, whatever the guest
 * wrote there. -EIO: no invalidation, not one of a guest's, or of a device that it does not have.
 */
static int arm_vsmmu_convert_user_cmd(struct arm_vsmmu *vsmmu, struct arm_smmu_cmd *cmd)
{
	switch (cmd->data[0] & CMDQ_0_OP) {
	case CMDQ_OP_TLBI_NSNH_ALL:
		/* all that the guest knows of is its own */
		*cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ALL, 0, vsmmu->vmid);
		return 0;
	case CMDQ_OP_TLBI_NH_VA:
	case CMDQ_OP_TLBI_NH_VAA:
	case CMDQ_OP_TLBI_NH_ALL:
	case CMDQ_OP_TLBI_NH_ASID:
		cmd->data[0] &= ~CMDQ_TLBI_0_VMID;
		cmd->data[0] |= FIELD_PREP(CMDQ_TLBI_0_VMID, vsmmu->vmid);
		return 0;
	case CMDQ_OP_ATC_INV:
	case CMDQ_OP_CFGI_CD:
	case CMDQ_OP_CFGI_CD_ALL: {
		u32 sid = 0;

		if (arm_vsmmu_vsid_to_sid(vsmmu, (u32)FIELD_GET(CMDQ_CFGI_0_SID, cmd->data[0]),
					  &sid))
			return -EIO;
		cmd->data[0] &= ~CMDQ_CFGI_0_SID;
		cmd->data[0] |= FIELD_PREP(CMDQ_CFGI_0_SID, sid);
		return 0;
	}
	default:
		return -EIO;
	}
}

/* *done: what the hardware has done. */
static int arm_vsmmu_issue_user_cmds(struct arm_vsmmu *vsmmu, struct arm_smmu_cmd *cmds, u32 n,
				     u32 *done)
{
	struct arm_smmu_device *smmu = vsmmu->smmu;
	int ret = 0;

	while (!ret && *done != n) {
		const u32 room = min<u32>(n - *done, CMDQ_BATCH_ENTRIES - 1);
		u32 good = 0;

		while (good != room && !ret) {
			ret = arm_vsmmu_convert_user_cmd(vsmmu, &cmds[*done + good]);
			good += !ret;
		}
		/* those before a bad one are done all the same */
		if (good) {
			int err = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, &cmds[*done],
							      (int)good, true);

			if (err)
				return err;
		}
		*done += good;
	}
	return ret;
}

int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu, struct iommu_user_data_array *array)
{
	auto *vsmmu = static_cast<struct arm_vsmmu *>(viommu);
	const u32 n = array->entry_num;
	u32 done = 0;

	static_assert(sizeof(struct iommu_viommu_arm_smmuv3_invalidate) ==
		      sizeof(struct arm_smmu_cmd));

	auto *cmds = kvcalloc_array<struct arm_smmu_cmd>(n);

	array->entry_num = 0;
	if (!cmds)
		return -ENOMEM;
	array->entry_num = n;

	int ret = iommu_copy_struct_from_full_user_array(cmds, sizeof(*cmds), array,
							 IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3);

	if (!ret)
		ret = arm_vsmmu_issue_user_cmds(vsmmu, cmds, n, &done);
	array->entry_num = done;
	kvfree_array(cmds);
	return ret;
}

static const struct iommufd_viommu_ops arm_vsmmu_ops = {
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vdevice_alloc = arm_vsmmu_vdevice_alloc,
	.vdevice_struct = &iommufd_struct_of<struct iommufd_vdevice>,
	.vdevice_init = arm_vsmmu_vdevice_init,
};

/*
 * A guest must not get around the caches, which nobody maintains for it: either its device cannot,
 * or stage 2 does not let it.
 */
static bool arm_smmu_can_nest(const struct arm_smmu_master *master)
{
	const struct arm_smmu_device *smmu = master->smmu;

	return smmu->features & ARM_SMMU_FEAT_NESTING &&
	       (arm_smmu_master_canwbs(master) || smmu->features & ARM_SMMU_FEAT_S2FWB);
}

const struct iommufd_struct *arm_smmu_get_viommu_struct(struct device *dev,
							enum iommu_viommu_type viommu_type)
{
	const struct arm_smmu_master *master = dev_to_master(dev);
	const struct arm_smmu_impl_ops *impl_ops = master->smmu->impl_ops;

	if (!arm_smmu_can_nest(master))
		return nullptr;
	if (viommu_type == IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return &iommufd_struct_of<struct arm_vsmmu>;
	return impl_ops && impl_ops->get_viommu_struct ? impl_ops->get_viommu_struct(viommu_type)
						       : nullptr;
}

static void arm_vsmmu_fill(struct arm_vsmmu *vsmmu, struct arm_smmu_device *smmu,
			   struct arm_smmu_domain *s2_parent)
{
	vsmmu->smmu = smmu;
	vsmmu->s2_parent = s2_parent;
	/* guests over one parent share it */
	vsmmu->vmid = s2_parent->s2_cfg.vmid;
}

int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent_domain,
		   const struct iommu_user_data *user_data)
{
	auto *vsmmu = static_cast<struct arm_vsmmu *>(viommu);
	auto *smmu = static_cast<struct arm_smmu_device *>(viommu->iommu_dev);
	struct arm_smmu_domain *s2_parent = to_smmu_domain(parent_domain);

	if (s2_parent->owner != &smmu->iommu_ops)
		return -EINVAL;
	arm_vsmmu_fill(vsmmu, smmu, s2_parent);
	if (viommu->type == IOMMU_VIOMMU_TYPE_ARM_SMMUV3) {
		viommu->ops = &arm_vsmmu_ops;
		return 0;
	}
	return smmu->impl_ops->vsmmu_init(vsmmu, user_data);
}

result<struct iommufd_viommu *> arm_vsmmu_alloc(struct device *dev, struct iommu_domain *parent,
						struct iommufd_ctx *ictx, unsigned int viommu_type,
						const struct iommu_user_data *user_data)
{
	const struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_device *smmu = master->smmu;
	struct arm_smmu_domain *s2_parent = to_smmu_domain(parent);

	if (!(smmu->features & ARM_SMMU_FEAT_NESTING))
		return -EOPNOTSUPP;
	if (s2_parent->owner != &smmu->iommu_ops)
		return -EINVAL;
	if (!arm_smmu_can_nest(master))
		return -EOPNOTSUPP;

	if (smmu->impl_ops && smmu->impl_ops->vsmmu_alloc) {
		auto impl =
			smmu->impl_ops->vsmmu_alloc(smmu, s2_parent, ictx, viommu_type, user_data);

		/* else it may be the plain type */
		if (impl || impl.error() != -EOPNOTSUPP)
			return impl;
	}
	if (viommu_type != IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return -EOPNOTSUPP;

	auto vsmmu = iommufd_viommu_alloc<struct arm_vsmmu>(ictx, &arm_vsmmu_ops);

	if (vsmmu)
		arm_vsmmu_fill(*vsmmu, smmu, s2_parent);
	return vsmmu;
}

int arm_vmaster_report_event(struct arm_smmu_vmaster *vmaster, const u64 *evt)
{
	struct iommu_vevent_arm_smmuv3 vevt;

	lockdep_assert_held(&vmaster->vsmmu->smmu->streams_mutex);

	for (unsigned int i = 0; i < EVTQ_ENT_DWORDS; i++)
		vevt.evt[i] = evt[i];
	vevt.evt[0] &= ~EVTQ_0_SID;
	vevt.evt[0] |= FIELD_PREP(EVTQ_0_SID, vmaster->vsid);
	return iommufd_viommu_report_event(vmaster->vsmmu, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, &vevt,
					   sizeof(vevt));
}
