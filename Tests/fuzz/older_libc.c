/* libFuzzer's runtime as a Swift toolchain brings it may have been built for a newer C library than
 * the system's (glibc from 2.38 on has the scanning functions of C23 under these names). What it
 * asks of them is what the older ones do. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define FORWARD(result, name, character)                                                  \
  result __isoc23_##name(const character *text, character **end, int base) {              \
    return name(text, end, base);                                                         \
  }

FORWARD(long, strtol, char)
FORWARD(unsigned long, strtoul, char)
FORWARD(long long, strtoll, char)
FORWARD(unsigned long long, strtoull, char)
FORWARD(long, wcstol, wchar_t)
FORWARD(unsigned long, wcstoul, wchar_t)
FORWARD(long long, wcstoll, wchar_t)
FORWARD(unsigned long long, wcstoull, wchar_t)

long long __isoc23_strtoll_l(const char *text, char **end, int base, void *locale) {
  (void)locale;
  return strtoll(text, end, base);
}

unsigned long long __isoc23_strtoull_l(const char *text, char **end, int base, void *locale) {
  (void)locale;
  return strtoull(text, end, base);
}

int __isoc23_vsscanf(const char *text, const char *format, va_list arguments) {
  return vsscanf(text, format, arguments);
}

int __isoc23_sscanf(const char *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int result = vsscanf(text, format, arguments);
  va_end(arguments);
  return result;
}
