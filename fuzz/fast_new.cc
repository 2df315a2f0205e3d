// SPDX-License-Identifier: GPL-2.0-or-later
//
// operator new for fuzzing: the harness makes and drops thousands of strings
// and vectors for each program, which asan's allocator does a hundred times
// slower than a list of free blocks. What the kernel under test allocates comes
// by malloc() and stays asan's; of what comes from here asan still sees a use
// after delete, until the block is used again.
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(void const volatile* p,
                                                       size_t n);
__attribute__((weak)) void __asan_unpoison_memory_region(void const volatile* p,
                                                         size_t n);
__attribute__((weak)) void __lsan_register_root_region(const void* p, size_t n);
}

namespace {

// Before each block. Blocks are aligned to its size.
struct alignas(16) Header {
  size_t size_class;
};

struct Free {
  Free* next;
};

// Blocks of 16 << n bytes; what is larger is malloc's.
constexpr size_t kClasses = 12;
constexpr size_t kLarge = kClasses;
constexpr size_t kChunk = size_t{4} << 20;

// A block may be freed by another thread than the one that took it: then it
// stays with that one. Both are trivial, so they outlive every destructor.
thread_local Free* free_blocks[kClasses];
thread_local char* chunk;
thread_local size_t chunk_left;

char* FromChunk(size_t size) {
  if (chunk_left < size) {
    void* p = mmap(nullptr, kChunk, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    // Memory of malloc's may be reachable only from here.
    if (__lsan_register_root_region) __lsan_register_root_region(p, kChunk);
    chunk = static_cast<char*>(p);
    chunk_left = kChunk;
  }
  char* at = chunk;
  chunk += size;
  chunk_left -= size;
  return at;
}

void* Allocate(size_t size) {
  const size_t size_class =
      static_cast<size_t>(std::bit_width((std::max<size_t>(size, 1) - 1) >> 4));
  if (size_class >= kClasses) {
    auto* header = static_cast<Header*>(malloc(sizeof(Header) + size));
    if (header == nullptr) return nullptr;
    header->size_class = kLarge;
    return header + 1;
  }
  const size_t bytes = size_t{16} << size_class;
  if (Free* block = free_blocks[size_class]; block != nullptr) {
    if (__asan_unpoison_memory_region) {
      __asan_unpoison_memory_region(block, bytes);
    }
    free_blocks[size_class] = block->next;
    return block;
  }
  char* block = FromChunk(sizeof(Header) + bytes);
  if (block == nullptr) return nullptr;
  auto* header = reinterpret_cast<Header*>(block);
  header->size_class = size_class;
  return header + 1;
}

void Release(void* p) {
  if (p == nullptr) return;
  Header* header = static_cast<Header*>(p) - 1;
  const size_t size_class = header->size_class;
  if (size_class == kLarge) {
    free(header);
    return;
  }
  auto* block = static_cast<Free*>(p);
  block->next = free_blocks[size_class];
  free_blocks[size_class] = block;
  if (__asan_poison_memory_region) {
    __asan_poison_memory_region(block, size_t{16} << size_class);
  }
}

}  // namespace

void* operator new(size_t size) {
  void* p = Allocate(size);
  if (p == nullptr) abort();
  return p;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
void operator delete(void* p) noexcept { Release(p); }
void operator delete[](void* p) noexcept { Release(p); }
void operator delete(void* p, size_t) noexcept { Release(p); }
void operator delete[](void* p, size_t) noexcept { Release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { Release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { Release(p); }
