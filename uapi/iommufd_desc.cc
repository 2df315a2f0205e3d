// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The run-time side of the descriptions, and the proof that they are whole.
 *
 * Mirrors no kernel file.
 */
#include "uapi/iommufd_desc.h"

#include <cstring>

#include "uapi/iommufd_desc_table.h"

using namespace desc_table;

/* --- checked while compiling --- */

static consteval bool is_pointer(desc_kind kind)
{
	return kind == desc_kind::PTR_IN || kind == desc_kind::PTR_OUT ||
	       kind == desc_kind::PTR_INOUT;
}

static consteval bool has_field(const desc_struct &s, const char *name)
{
	for (const desc_field &f : s.fields)
		if (std::string_view(f.name) == name)
			return true;
	return false;
}

/*
 * Every byte belongs to just one field, every name is there once, and a field's references lead
 * to fields of the same struct.
 */
static consteval bool is_whole(const desc_struct &s)
{
	size_t at = 0;

	for (size_t i = 0; i < s.fields.size(); i++) {
		const desc_field &f = s.fields[i];
		uint64_t all = f.width == 8 ? ~0ULL : (1ULL << (8 * f.width)) - 1;

		if (f.offset != at)
			return false;
		if (f.width != 1 && f.width != 2 && f.width != 4 && f.width != 8)
			return false;
		at += f.width;
		for (size_t j = 0; j < i; j++)
			if (std::string_view(f.name) == s.fields[j].name)
				return false;
		for (const desc_name &n : f.names)
			if (n.value & ~all)
				return false;
		for (uint64_t n : f.interesting)
			if (n & ~all)
				return false;
		if (((f.valid || f.usual) && f.kind != desc_kind::FLAGS) || (f.usual & ~f.valid) ||
		    (f.default_value & ~all) || (f.valid & ~all))
			return false;
		if (f.kind == desc_kind::FLAGS) {
			uint64_t named = 0;

			for (const desc_name &n : f.names)
				named |= n.value;
			if (f.valid & ~named)
				return false;
		}
		if (f.kind == desc_kind::ENUM && f.names.empty())
			return false;
		if (is_pointer(f.kind) && f.width != 8)
			return false;
		if (f.len_field && !has_field(s, f.len_field))
			return false;
		if (!f.bits_of != !f.bit_bytes ||
		    (f.bits_of && !(has_field(s, f.bits_of) && has_field(s, f.bit_bytes))))
			return false;
		/* something says how many bytes are behind a pointer */
		if (is_pointer(f.kind) && !f.len_field && !f.bits_of && !f.pointee)
			return false;
		if (!f.variants.empty() && (!f.selector_field || !has_field(s, f.selector_field)))
			return false;
		if ((f.kind == desc_kind::ID_IN || f.kind == desc_kind::ID_OUT ||
		     f.kind == desc_kind::ID_INOUT) &&
		    (f.object == desc_object::NONE || f.width != 4))
			return false;
	}
	return at == s.size;
}

static consteval const desc_field *field_of(const desc_struct &s, const char *name)
{
	for (const desc_field &f : s.fields)
		if (name && std::string_view(f.name) == name)
			return &f;
	return nullptr;
}

/* A field is there, and of one of two kinds. */
static consteval bool names_a(const desc_struct &s, const char *name, desc_kind a, desc_kind b)
{
	const desc_field *f = field_of(s, name);

	return f && (f->kind == a || f->kind == b);
}

static consteval bool no_range(const desc_effect &e)
{
	return !e.iova && !e.length;
}

/* What the effect's kind needs is named and of a fitting kind, and nothing else is named. */
static consteval bool effect_is_whole(const desc_struct &s, const desc_effect &e)
{
	using enum desc_kind;
	const desc_field *selector = field_of(s, e.selector);
	bool range = names_a(s, e.iova, IOVA, IOVA_INOUT) && names_a(s, e.length, IOVA_LEN, LEN);
	bool maps = e.kind == desc_effect_kind::MAP;
	bool copies = e.kind == desc_effect_kind::COPY;
	bool of_access = e.kind == desc_effect_kind::ACCESS_SPACE ||
			 e.kind == desc_effect_kind::ACCESS;

	if (e.space && !names_a(s, e.space, ID_IN, ID_INOUT))
		return false;
	if (e.selector && !(selector && (selector->kind == FLAGS || selector->kind == ENUM)))
		return false;
	if (maps && !e.from_va == !e.from_file)
		return false;
	if ((e.from_va && !(maps && names_a(s, e.from_va, USER_VA, USER_VA))) ||
	    (e.from_file && !(maps && names_a(s, e.from_file, FD_IN, FD_IN) && e.from_offset)) ||
	    (e.from_offset && !(e.from_file && names_a(s, e.from_offset, NUMBER, NUMBER))))
		return false;
	if (copies ? !names_a(s, e.src_space, ID_IN, ID_IN) || !names_a(s, e.src_iova, IOVA, IOVA)
		   : e.src_space || e.src_iova)
		return false;
	if (of_access ? !names_a(s, e.access, FD_IN, FD_OUT) : !!e.access)
		return false;
	switch (e.kind) {
	case desc_effect_kind::MAP:
	case desc_effect_kind::COPY:
		return range && !e.selector && !e.data;
	case desc_effect_kind::UNMAP:
		return range && !e.data;
	case desc_effect_kind::END:
		return e.space && no_range(e) && !e.selector && !e.data;
	case desc_effect_kind::COMPAT_SPACE:
		return e.space && no_range(e) && !e.data;
	case desc_effect_kind::ACCESS_SPACE:
		return e.space && no_range(e) && !e.selector && !e.data;
	case desc_effect_kind::ACCESS:
		return range && !e.space && names_a(s, e.data, PTR_INOUT, PTR_INOUT);
	}
	return false;
}

static consteval bool all_whole()
{
	for (const desc_struct *s : pointee_structs)
		if (!is_whole(*s))
			return false;
	for (const desc_ioctl &d : desc_ioctls) {
		if (!is_whole(*d.arg) || d.min_size > d.arg->size)
			return false;
		if (d.arg_is_value) {
			if (d.min_size || d.arg->fields.size() != 1 || d.arg->size != 8)
				return false;
			continue;
		}
		if (d.arg->fields[0].kind != desc_kind::SIZE)
			return false;
	}
	return true;
}
static_assert(all_whole(), "a description leaves a byte out, covers one twice, or refers to a "
			   "field that is not there");

static consteval bool all_effects_whole()
{
	for (const desc_ioctl &d : desc_ioctls)
		if (d.effect && !effect_is_whole(*d.arg, *d.effect))
			return false;
	return true;
}
static_assert(all_effects_whole(), "an effect lacks a field, or names one that is not there or of "
				   "another kind");

/* Every number has a description, in a revision just one; the order is that of the numbers. */
static consteval bool all_there()
{
	for (uint32_t nr = IOMMUFD_CMD_BASE; nr <= iommufd_desc_last_nr(); nr++)
		if (!iommufd_desc_lookup(_IO(IOMMUFD_TYPE, nr), 0, DESC_ALL))
			return false;
	for (uint32_t op = IOMMU_TEST_OP_ADD_RESERVED; op <= IOMMU_TEST_OP_DMABUF_REVOKE; op++)
		if (!iommufd_desc_lookup(IOMMU_TEST_CMD, op, DESC_ALL))
			return false;
	for (size_t i = 1; i < std::size(desc_ioctls); i++) {
		const desc_ioctl &prev = desc_ioctls[i - 1], &d = desc_ioctls[i];

		if (d.cmd < prev.cmd || (d.cmd == prev.cmd && d.op < prev.op))
			return false;
		for (size_t j = 0; j < i; j++) {
			const desc_ioctl &e = desc_ioctls[j];

			if (!(e.revisions & d.revisions))
				continue;
			if ((e.cmd == d.cmd && e.op == d.op) || std::string_view(e.name) == d.name)
				return false;
		}
	}
	return true;
}
static_assert(all_there(), "an ioctl or a test op has no description, or two, or is out of order");

/* --- at run time --- */

/* These searches are most of what binding a program costs: the first letter settles nearly each. */
static bool is_name(const char *name, std::string_view text)
{
	for (char c : text)
		if (c != *name++)
			return false;
	return !*name;
}

std::span<const desc_ioctl> iommufd_desc_all()
{
	return desc_ioctls;
}

const desc_ioctl *iommufd_desc_find(std::string_view name, uint8_t revisions)
{
	for (const desc_ioctl &d : desc_ioctls)
		if (d.revisions & revisions && is_name(d.name, name))
			return &d;
	return nullptr;
}

const desc_ioctl *iommufd_desc_find_cmd(uint32_t cmd, uint32_t op, uint8_t revisions)
{
	for (const desc_ioctl &d : desc_ioctls)
		if (d.revisions & revisions && d.cmd == cmd &&
		    d.op == (cmd == IOMMU_TEST_CMD ? op : 0))
			return &d;
	return nullptr;
}

const desc_field *desc_find_field(const desc_struct &s, std::string_view name)
{
	for (const desc_field &f : s.fields)
		if (is_name(f.name, name) || (f.alias && is_name(f.alias, name)))
			return &f;
	return nullptr;
}

const desc_struct *iommufd_desc_find_struct(std::string_view name)
{
	for (const desc_struct *s : pointee_structs)
		if (is_name(s->name, name))
			return s;
	for (const desc_ioctl &d : desc_ioctls)
		if (d.cmd != IOMMU_TEST_CMD && is_name(d.arg->name, name))
			return d.arg;
	return nullptr;
}

const desc_struct *desc_pointee(const desc_struct &s, const desc_field &f, const void *arg)
{
	const desc_struct *first = nullptr;
	uint64_t selected, entry_len = 0;

	if (f.variants.empty())
		return f.pointee;
	selected = desc_load(*desc_find_field(s, f.selector_field), arg);
	for (const desc_field &other : s.fields)
		if (other.kind == desc_kind::ENTRY_LEN)
			entry_len = desc_load(other, arg);
	for (const desc_variant &v : f.variants) {
		if (v.selector != selected)
			continue;
		if (v.pointee->size == entry_len)
			return v.pointee;
		if (!first)
			first = v.pointee;
	}
	return first;
}

uint64_t desc_load(const desc_field &f, const void *image)
{
	const unsigned char *p = static_cast<const unsigned char *>(image) + f.offset;
	uint64_t v = 0;

	/* Little-endian hosts only, as everything here. */
	std::memcpy(&v, p, f.width);
	return v;
}

void desc_store(const desc_field &f, void *image, uint64_t value)
{
	std::memcpy(static_cast<unsigned char *>(image) + f.offset, &value, f.width);
}

bool desc_effect_selected(const desc_struct &s, const desc_effect &e, const void *arg)
{
	const desc_field *f = e.selector ? desc_find_field(s, e.selector) : nullptr;
	uint64_t value;

	if (!f)
		return false;
	value = desc_load(*f, arg);
	return f->kind == desc_kind::FLAGS ? (value & e.selected) == e.selected
					   : value == e.selected;
}

bool desc_is_output(desc_kind kind)
{
	switch (kind) {
	case desc_kind::ID_OUT:
	case desc_kind::ID_INOUT:
	case desc_kind::FD_OUT:
	case desc_kind::IOVA_INOUT:
	case desc_kind::NUMBER_OUT:
	case desc_kind::NUMBER_INOUT:
		return true;
	default:
		return false;
	}
}

bool desc_is_input(desc_kind kind)
{
	switch (kind) {
	case desc_kind::ID_OUT:
	case desc_kind::FD_OUT:
	case desc_kind::NUMBER_OUT:
	case desc_kind::PADDING:
		return false;
	default:
		return true;
	}
}

bool desc_is_pointer(desc_kind kind)
{
	return kind == desc_kind::PTR_IN || kind == desc_kind::PTR_OUT ||
	       kind == desc_kind::PTR_INOUT;
}

bool desc_is_returned(const desc_field &f)
{
	return desc_is_output(f.kind) || f.returned;
}

std::string_view desc_output_name(const desc_field &f)
{
	std::string_view name = f.name;

	if (f.short_name)
		return f.short_name;
	if (name.starts_with("out_"))
		name.remove_prefix(4);
	if (name.ends_with("_id"))
		name.remove_suffix(3);
	return name;
}
