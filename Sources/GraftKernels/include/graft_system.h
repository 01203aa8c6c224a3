/* What Swift's C library module leaves out. */
#ifndef GRAFT_SYSTEM_H
#define GRAFT_SYSTEM_H

/* Exchanges what two paths name, in one step. 0, or -1 with errno set (EINVAL where the file system
 * cannot). */
int gk_exchange(const char *one, const char *other);

/* What an errno means, in English whatever the host's locale; NULL for a number that is none. */
const char *gk_system_text(int code);

#endif
