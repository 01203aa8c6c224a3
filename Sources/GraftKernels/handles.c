#include "graft_handles.h"

#include <stdatomic.h>
#include <stddef.h>

#include "graft_memory.h"

/* A handle's bits, from the top: 0110, which makes it no address of a program's on any processor of
 * 64 bits, so that reading through one fails at once; 36 of its turn, how often its slot was used
 * before; 24 of its slot. A slot whose turns are used up is not used again. */

#define SLOT_BITS 24
#define TURN_BITS 36
#define MARK ((uintptr_t)6 << (SLOT_BITS + TURN_BITS))
#define LAST_TURN (((uint64_t)1 << TURN_BITS) - 1)
#define CHUNK_BITS 10
#define CHUNK_SLOTS ((uint32_t)1 << CHUNK_BITS)
#define CHUNKS ((uint32_t)1 << (SLOT_BITS - CHUNK_BITS))

_Static_assert(sizeof(uintptr_t) == 8, "handles have 64 bits");

typedef struct slot {
  /* The live handle, or GK_NO_HANDLE. Written last when one is made, first when it ends. */
  _Atomic(uintptr_t) handle;
  _Atomic(uintptr_t) kind;
  _Atomic(void *) object;
  /* How often the slot has been used; whoever has taken it from the free ones writes it. */
  uint64_t turns;
  /* The next free slot + 1, 0 for none. */
  _Atomic(uint32_t) next;
} slot;

/* Slots stay where they are, and are never freed: looking one up takes no lock. */
static _Atomic(slot *) chunks[CHUNKS];
/* How many slots have ever been used. */
static _Atomic(uint32_t) used;
/* Slots to use again: the first's index + 1, and above it a count of changes, so that a slot that
 * went and came back in the meantime is not taken for one that stayed. */
static _Atomic(uint64_t) free_slots;

static slot *slot_at(uint32_t index) {
  slot *chunk = atomic_load_explicit(&chunks[index >> CHUNK_BITS], memory_order_acquire);
  return chunk == NULL ? NULL : &chunk[index & (CHUNK_SLOTS - 1)];
}

static uint64_t changed(uint64_t list, uint32_t first) {
  return (((list >> 32) + 1) << 32) | first;
}

static slot *take_free(uint32_t *index) {
  uint64_t list = atomic_load(&free_slots);
  while ((uint32_t)list != 0) {
    slot *first = slot_at((uint32_t)list - 1);
    uint64_t rest = changed(list, atomic_load(&first->next));
    if (atomic_compare_exchange_weak(&free_slots, &list, rest)) {
      *index = (uint32_t)list - 1;
      return first;
    }
  }
  return NULL;
}

static void give_free(slot *one, uint32_t index) {
  uint64_t list = atomic_load(&free_slots);
  do atomic_store(&one->next, (uint32_t)list);
  while (!atomic_compare_exchange_weak(&free_slots, &list, changed(list, index + 1)));
}

static slot *take_unused(uint32_t *index) {
  uint32_t next = atomic_load(&used);
  for (;;) {
    if (next >> SLOT_BITS != 0) return NULL;
    _Atomic(slot *) *chunk = &chunks[next >> CHUNK_BITS];
    if (atomic_load(chunk) == NULL) {
      slot *made = gk_allocate(CHUNK_SLOTS, sizeof *made), *none = NULL;
      if (made == NULL) return NULL;
      if (!atomic_compare_exchange_strong(chunk, &none, made)) gk_free(made);
    }
    if (atomic_compare_exchange_weak(&used, &next, next + 1)) {
      *index = next;
      return slot_at(next);
    }
  }
}

uintptr_t gk_handle_make(uintptr_t kind, void *object) {
  uint32_t index;
  slot *one = take_free(&index);
  if (one == NULL) one = take_unused(&index);
  if (one == NULL) return GK_NO_HANDLE;
  uintptr_t handle = MARK | (uintptr_t)one->turns << SLOT_BITS | index;
  ++one->turns;
  atomic_store_explicit(&one->kind, kind, memory_order_relaxed);
  atomic_store_explicit(&one->object, object, memory_order_relaxed);
  atomic_store_explicit(&one->handle, handle, memory_order_release);
  return handle;
}

static uint32_t index_of(uintptr_t handle) {
  return (uint32_t)(handle & (((uintptr_t)1 << SLOT_BITS) - 1));
}

static slot *slot_of(uintptr_t handle) {
  if (handle >> (SLOT_BITS + TURN_BITS) != MARK >> (SLOT_BITS + TURN_BITS)) return NULL;
  return slot_at(index_of(handle));
}

void *gk_handle_find(uintptr_t handle, uintptr_t *kind) {
  slot *one = slot_of(handle);
  if (one == NULL || atomic_load_explicit(&one->handle, memory_order_acquire) != handle)
    return NULL;
  *kind = atomic_load_explicit(&one->kind, memory_order_relaxed);
  return atomic_load_explicit(&one->object, memory_order_relaxed);
}

void *gk_handle_end(uintptr_t handle) {
  slot *one = slot_of(handle);
  if (one == NULL) return NULL;
  uintptr_t live = handle;
  void *object = atomic_load_explicit(&one->object, memory_order_relaxed);
  if (!atomic_compare_exchange_strong(&one->handle, &live, GK_NO_HANDLE)) return NULL;
  if (one->turns <= LAST_TURN) give_free(one, index_of(handle));
  return object;
}
