#include "graft_message.h"

#include <string.h>

static _Thread_local char last_error[1024];

/* How many bytes the UTF-8 character at `text` has. */
static size_t character(const unsigned char *text) {
  size_t length = 1;
  while ((text[length] & 0xC0) == 0x80) ++length;
  return length;
}

/* Whether a terminal, an editor or a log would act on the character instead of showing it: controls
 * (C0, DEL and C1: U+0080 to U+009F), line and paragraph separators (U+2028, U+2029), and what
 * turns the direction of the text after it (U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069). */
static int is_shown(const unsigned char *c) {
  if (c[0] < 0x20 || c[0] == 0x7F) return 0;
  if (c[0] == 0xC2) return c[1] >= 0xA0;
  if (c[0] != 0xE2) return 1;
  if (c[1] == 0x80) return !(c[2] >= 0xA8 && c[2] <= 0xAE) && c[2] != 0x8E && c[2] != 0x8F;
  return !(c[1] == 0x81 && c[2] >= 0xA6 && c[2] <= 0xA9);
}

void gk_set_last_error(const char *text) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char *from = (const unsigned char *)text;
  size_t length = 0, limit = sizeof last_error - 1;
  while (*from != 0) {
    size_t bytes = character(from), needed = is_shown(from) ? bytes : 4 * bytes;
    if (length + needed > limit) break;
    if (needed == bytes) {
      memcpy(last_error + length, from, bytes);
    } else {
      for (size_t i = 0; i < bytes; ++i) {
        char *to = last_error + length + 4 * i;
        to[0] = '\\';
        to[1] = 'x';
        to[2] = digits[from[i] >> 4];
        to[3] = digits[from[i] & 15];
      }
    }
    length += needed;
    from += bytes;
  }
  last_error[length] = 0;
}

const char *gk_last_error(void) { return last_error; }
