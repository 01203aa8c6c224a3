/* A system call that Swift's C library module leaves out. */
#ifndef GRAFT_RENAME_H
#define GRAFT_RENAME_H

/* Exchanges what two paths name, in one step. 0, or -1 with errno set (EINVAL where the file system
 * cannot). */
int gk_exchange(const char *one, const char *other);

#endif
