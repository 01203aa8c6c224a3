#define _GNU_SOURCE
#include "graft_system.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int gk_exchange(const char *one, const char *other) {
  return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

const char *gk_system_text(int code) { return strerrordesc_np(code); }
