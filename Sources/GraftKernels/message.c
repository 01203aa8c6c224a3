#include "graft_message.h"

#include <string.h>

static _Thread_local char last_error[1024];

void gk_set_last_error(const char *text) {
  size_t length = strlen(text), limit = sizeof last_error - 1;
  if (length > limit) {
    length = limit;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) --length;
  }
  memcpy(last_error, text, length);
  last_error[length] = 0;
}

const char *gk_last_error(void) { return last_error; }
