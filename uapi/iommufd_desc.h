// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One description per ioctl, from which everything generic is derived: the program text, the
 * fuzzer's generator and mutator, the pretty-printer, the reserved-field tests, the reproducers and
 * the export to other tools. Nobody writes an ioctl's shape twice.
 *
 * Mirrors no kernel file. Its facts are those of include/uapi/linux/iommufd.h and
 * drivers/iommu/iommufd/iommufd_test.h.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "uapi/iommufd_objects.h"

/* What a field means; decides how a generator fills it and how a printer shows it. */
enum class desc_kind : uint8_t {
	SIZE, /* the command's own size field: usually sizeof the struct */
	OP,   /* IOMMU_TEST_CMD's op number: fixed by the description */
	/* OR of `names`; bits outside `valid` are refused with EOPNOTSUPP, by VFIO_* with EINVAL */
	FLAGS,
	ENUM,	  /* one of `names` */
	ID_IN,	  /* an object id that must exist, of type `object` */
	ID_OUT,	  /* an object id that the kernel returns */
	ID_INOUT, /* in: an id or a literal; out: an id (MOCK_DOMAIN's id, replace) */
	/* a file descriptor: of an `object` (ACCESS), or a memory file when that is NONE */
	FD_IN,
	/* a file descriptor that the kernel returns, of an `object` (ACCESS, FAULT, VEVENTQ) */
	FD_OUT,
	USER_VA, /* an address of user memory that is only mapped or pinned, not copied */
	/* a user pointer that the kernel reads; `pointee` and `len_field` say what */
	PTR_IN,
	PTR_OUT, /* a user pointer that the kernel writes */
	PTR_INOUT,
	LEN, /* bytes at a pointer field of the same struct */
	/* elements at a pointer field; may come back as the number handled or required */
	COUNT,
	ENTRY_LEN,  /* bytes of one element */
	IOVA,	    /* an address of an I/O address space */
	IOVA_LEN,   /* bytes of an I/O address range; may come back */
	IOVA_INOUT, /* an IOVA that the kernel may choose (without FIXED_IOVA) and returns */
	NUMBER,	    /* a plain number */
	NUMBER_OUT, /* a plain number that the kernel returns */
	NUMBER_INOUT,
	RESERVED, /* must be zero, else EOPNOTSUPP or EINVAL */
	PADDING,  /* not looked at */
};

/*
 * What an id or a descriptor is not of one object type: X(name, label, variable) as in
 * IOMMUFD_OBJECT_TYPES. ACCESS_PAGES is a number that ACCESS_PAGES gives and DESTROY_ACCESS_PAGES
 * takes, per access. Only descriptors are a DMABUF's; IOAS_MAP_FILE takes them too.
 */
/* clang-format off */
#define DESC_OTHER_OBJECTS(X) \
	X(ANY,		"any object",	"x") \
	X(HWPT,		"HWPT",		"hwpt") /* of either type */ \
	X(PT,		"IOAS or HWPT", "hwpt") \
	X(ACCESS_PAGES, "object",	"pages") \
	X(DMABUF,	"object",	"x")

/* Types of ids, as userspace sees them. The object types have the kernel's numbers. */
enum class desc_object : uint8_t {
	NONE,
#define X(name, label, variable) name,
	IOMMUFD_OBJECT_TYPES(X)
	DESC_OTHER_OBJECTS(X)
#undef X
	MAX,
};

struct desc_object_names {
	const char *label;    /* "IOAS or HWPT"; of NONE "" */
	const char *variable; /* "ioas": what a program calls one */
};
inline constexpr desc_object_names desc_object_names_of[] = {
	{"", "x"},
#define X(name, label, variable) {label, variable},
	IOMMUFD_OBJECT_TYPES(X)
	DESC_OTHER_OBJECTS(X)
#undef X
};
/* clang-format on */

constexpr const char *desc_object_label(desc_object object)
{
	return desc_object_names_of[static_cast<unsigned int>(object)].label;
}
constexpr const char *desc_object_variable(desc_object object)
{
	return desc_object_names_of[static_cast<unsigned int>(object)].variable;
}

/* May an id of a `want` name a `have`? The kernel may still refuse what was made in another way. */
constexpr bool desc_object_takes(desc_object want, desc_object have)
{
	switch (want) {
	case desc_object::ANY:
		return true;
	case desc_object::PT:
		return have == desc_object::IOAS || have == desc_object::HWPT ||
		       have == desc_object::HWPT_NESTED || have == desc_object::VIOMMU;
	case desc_object::HWPT:
		return have == desc_object::HWPT || have == desc_object::HWPT_NESTED;
	case desc_object::HWPT_NESTED:
		return have == desc_object::HWPT_NESTED || have == desc_object::VIOMMU;
	default:
		return want == have;
	}
}

/* Are ids of an `object` an access's, which the command has a descriptor of, not the context's? */
constexpr bool desc_object_is_of_access(desc_object object)
{
	return object == desc_object::ACCESS_PAGES;
}

/* A named value of a flags or enum field: the kernel's name without its prefix. */
struct desc_name {
	const char *name;
	uint64_t value;
};

struct desc_struct;

/* Which struct a pointer points to when that depends on another field (data_type, type). */
struct desc_variant {
	uint64_t selector; /* the selector field's value */
	const struct desc_struct *pointee;
};

struct desc_field {
	/*
	 * as in the kernel's struct; "mock_domain.out_idev_id" of a union member is "out_idev_id"
	 */
	const char *name;
	uint16_t offset; /* bytes from the start of the struct */
	uint8_t width;	 /* bytes: 1, 2, 4 or 8 */
	desc_kind kind;
	/* what C writes behind the struct: "mock_domain.out_idev_id"; nullptr: it has no name */
	const char *c_name = nullptr;
	desc_object object = desc_object::NONE;
	std::span<const desc_name> names = {};
	uint64_t valid = 0; /* FLAGS: the mask of accepted bits */
	/* outputs: the name in `x.NAME`; nullptr when the command has just one output */
	const char *short_name = nullptr;
	/* pointers: the field with the bytes or the element count */
	const char *len_field = nullptr;
	/* pointers to a bitmap: the field with the bytes that it covers, and with those of a bit */
	const char *bits_of = nullptr;
	const char *bit_bytes = nullptr;
	/* pointers: the element; nullptr is raw bytes */
	const struct desc_struct *pointee = nullptr;
	/* pointers: the field that chooses among variants */
	const char *selector_field = nullptr;
	std::span<const desc_variant> variants = {};
	uint64_t default_value = 0; /* what a program gets when it does not name the field */
	/*
	 * the other name of the same bytes in the kernel's struct (a union); desc_find_field()
	 * takes both
	 */
	const char *alias = nullptr;
	/*
	 * of a kind that is an input by itself (LEN, COUNT, IOVA_LEN, ...): the kernel writes it
	 * back too
	 */
	bool returned = false;

	/*
	 * Hints for a generator of programs. The kernel does not depend on them: a call without
	 * what they say is as good a program, it only succeeds less often.
	 */
	/* numbers worth trying; what serves most calls is there more than once */
	std::span<const uint64_t> interesting = {};
	uint64_t usual = 0; /* FLAGS: the bits that most calls have */
	/* ID_IN, FD_IN: the call that made the object should have had these flags */
	uint64_t made_with = 0;
	bool optional = false; /* ID_IN: many calls go without an object */
	/* ID_OUT: where selector_field is not 0, the object is of this type and not of `object` */
	desc_object selected_object = desc_object::NONE;
};

/*
 * A struct that a pointer of a command points to, or the command itself. Fields are in offset
 * order and cover every byte.
 */
struct desc_struct {
	const char *name; /* the kernel's tag */
	uint16_t size;	  /* bytes */
	std::span<const desc_field> fields;
};

/* The forms of the surface: a bit each, and sets of them. */
enum desc_revision : uint8_t {
	DESC_VCMDQ_V2 = 1,
	DESC_HW_QUEUE = 2,
	DESC_LINUX_6_12 = 4,
	DESC_ALL = 0xff,
	/* since vIOMMUs came: what Linux v6.12 lacks */
	DESC_SINCE_VIOMMU = DESC_VCMDQ_V2 | DESC_HW_QUEUE,
	/* releases of Linux, not a series as posted */
	DESC_RELEASES = DESC_HW_QUEUE | DESC_LINUX_6_12,
};

/*
 * The forms by the names that an open takes: every list of forms is this one. The first is the
 * default. A release's own name is good as well.
 */
struct desc_revision_name {
	const char *name;
	desc_revision revision;
	const char *summary; /* for help */
	const char *release = nullptr;
};
inline constexpr desc_revision_name desc_revisions[] = {
	{"vcmdq-v2", DESC_VCMDQ_V2, "the series as posted"},
	{"hw-queue", DESC_HW_QUEUE, "the form that was merged", "linux-v7_2"},
	{"linux-v6_12", DESC_LINUX_6_12, "what a 6.12 kernel has"},
};

/* nullptr: no name has this bit. */
constexpr const char *desc_revision_name_of(uint8_t revision)
{
	for (const desc_revision_name &r : desc_revisions)
		if (r.revision == revision)
			return r.name;
	return nullptr;
}

/* 0: no form has this name. */
constexpr uint8_t desc_revision_by_name(std::string_view name)
{
	for (const desc_revision_name &r : desc_revisions)
		if (name == r.name || (r.release != nullptr && name == r.release))
			return r.revision;
	return 0;
}

/*
 * What a successful command does to what I/O address spaces map, or with it. Spaces are contexts'
 * IOAS ids; a context has one that is used by commands which name none (VFIO's compatible one).
 */
enum class desc_effect_kind : uint8_t {
	MAP,   /* [iova, iova + length) of `space` maps new memory: from_va, or from_file */
	COPY,  /* [iova, iova + length) of `space` maps what src_space has at src_iova */
	UNMAP, /* `space` maps nothing in [iova, iova + length); selected: nothing anywhere */
	END,   /* if `space` is the id of a space, it is gone */
	/* `space` becomes the one of commands that name none; selected: there is none then */
	COMPAT_SPACE,
	ACCESS_SPACE, /* `access` reads and writes `space` from now on; id 0: none */
	/* `access` reads [iova, iova + length) into `data`; selected: it writes `data` there */
	ACCESS,
};

/*
 * Members are names of fields of the command; nullptr: it has no such field. Outputs
 * (desc_is_output()) count as they came back, all others as they were sent.
 */
struct desc_effect {
	desc_effect_kind kind;
	const char *space = nullptr; /* an id; nullptr: the context's compatible space */
	const char *iova = nullptr;
	const char *length = nullptr;
	const char *from_va = nullptr;	   /* MAP: user memory */
	const char *from_file = nullptr;   /* MAP: a descriptor of a memory file */
	const char *from_offset = nullptr; /* bytes from the start of from_file */
	const char *src_space = nullptr;   /* COPY */
	const char *src_iova = nullptr;
	const char *access = nullptr; /* a descriptor, which may be one that the command makes */
	const char *data = nullptr;   /* ACCESS: a pointer */
	/* "selected": this field has the value, or (FLAGS) all bits of it */
	const char *selector = nullptr;
	uint64_t selected = 0;
};

/* One ioctl, or one op of IOMMU_TEST_CMD. */
struct desc_ioctl {
	/*
	 * "VCMDQ_ALLOC", "MOCK_DOMAIN": without IOMMU_ or IOMMU_TEST_OP_. VFIO's, which have
	 * /dev/vfio/vfio's numbers, keep their VFIO_.
	 */
	const char *name;
	const char *constant; /* the kernel's name of cmd, of a test op that of op */
	uint32_t cmd;	      /* the ioctl number */
	uint32_t op;	      /* IOMMU_TEST_CMD's op; 0 for others */
	uint16_t min_size;    /* bytes: the smallest size that is accepted */
	uint8_t revisions;    /* enum desc_revision: where the command exists */
	const struct desc_struct *arg;
	/* the object that success leaves behind, that DESTROY takes; or what returns_fd is of */
	desc_object creates = desc_object::NONE;
	bool returns_fd = false;     /* success is a new file descriptor, not 0 */
	bool returns_number = false; /* success is a number that may be more than 0 */
	/*
	 * The ioctl's argument is no address: it is the value of arg's only field, which is 8 bytes
	 * wide. min_size is 0.
	 */
	bool arg_is_value = false;
	/* Of a device's file (/dev/vfio/devices/vfio0), not of /dev/iommu. */
	bool of_device = false;
	/*
	 * The kernel reads the fields that it needs whatever arg's size field says, and nothing
	 * behind them.
	 */
	bool size_is_advice = false;
	const struct desc_effect *effect = nullptr; /* on what is mapped; nullptr: none */
};

/*
 * All commands: the ioctls in order of their numbers (VFIO's first), then the test ops in order of
 * theirs.
 */
std::span<const desc_ioctl> iommufd_desc_all();

/* By name; nullptr when there is none. A name is unique within one revision. */
const desc_ioctl *iommufd_desc_find(std::string_view name, uint8_t revisions = DESC_ALL);

/* By ioctl number (and op where the command is IOMMU_TEST_CMD); nullptr when there is none. */
const desc_ioctl *iommufd_desc_find_cmd(uint32_t cmd, uint32_t op, uint8_t revisions);

/* By name or alias; nullptr when there is none. */
const desc_field *desc_find_field(const desc_struct &s, std::string_view name);

/*
 * By the kernel's tag: any struct of the ABI that a command or a file carries (iommu_iova_range,
 * iommu_hwpt_pgfault, ...).
 */
const desc_struct *iommufd_desc_find_struct(std::string_view name);

/*
 * The struct that `f` points to in the command image `arg` (of s.size bytes): its pointee, or the
 * variant that its selector chooses. Where several variants have the chosen selector
 * (HWPT_INVALIDATE: a nested table's or a vIOMMU's requests), the one whose size is in the image's
 * ENTRY_LEN field is taken, else the first. nullptr: raw bytes.
 */
const desc_struct *desc_pointee(const desc_struct &s, const desc_field &f, const void *arg);

/* Little helpers for generic code: a field's value in a struct image, zero-extended. */
uint64_t desc_load(const desc_field &f, const void *image);
void desc_store(const desc_field &f, void *image, uint64_t value);
bool desc_is_output(desc_kind kind); /* the kernel writes the field back */
bool desc_is_input(desc_kind kind);
bool desc_is_pointer(desc_kind kind);
bool desc_is_returned(const desc_field &f); /* desc_is_output(), or an input that comes back */
/* Is `e` selected by the command image `arg`? Without a selector: no. */
bool desc_effect_selected(const desc_struct &s, const desc_effect &e, const void *arg);
/* The short name of an output: short_name, or the field name without out_ and _id. */
std::string_view desc_output_name(const desc_field &f);
