/* The last error's text, kept per thread in a fixed buffer: saying what went wrong allocates
 * nothing. */
#ifndef GRAFT_MESSAGE_H
#define GRAFT_MESSAGE_H

/* Copies the text, UTF-8, cut at 1023 bytes without splitting a character. Names in it are a
 * caller's or a file's: what a terminal would act on instead of showing it (escapes, line breaks,
 * changes of direction) becomes \xNN for each of its bytes. */
void gk_set_last_error(const char *text);
const char *gk_last_error(void);

#endif
