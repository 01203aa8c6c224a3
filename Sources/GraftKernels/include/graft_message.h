/* The last error's text, kept per thread in a fixed buffer: saying what went wrong allocates
 * nothing. */
#ifndef GRAFT_MESSAGE_H
#define GRAFT_MESSAGE_H

/* Copies the text, cut at 1023 bytes without splitting a UTF-8 character. */
void gk_set_last_error(const char *text);
const char *gk_last_error(void);

#endif
