/** @file
 * Status codes and messages.
 *
 * Every function that can fail returns a graft_status. On anything but GRAFT_OK it has changed
 * nothing that the caller owns (unless its own comment says otherwise), and graft_last_error()
 * says which argument was wrong, what it was, and what is allowed. Where several are wrong it names
 * one of them.
 */
#ifndef GRAFT_STATUS_H
#define GRAFT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/** What a call came to. The numbers never change. */
typedef enum graft_status {
  GRAFT_OK = 0,
  /** An argument is outside what is allowed: NULL, zero, negative, too large, not a known value. */
  GRAFT_INVALID_ARGUMENT = 1,
  /** Shapes, types or counts that have to agree do not. */
  GRAFT_SHAPE_MISMATCH = 2,
  /** A weight, logit, gradient or loss is NaN or infinite. Weights, running statistics and momentum
   * are then what they were before the call (graft_trainer_run: before the step). */
  GRAFT_NOT_FINITE = 3,
  /** Memory for the work could not be had. */
  GRAFT_OUT_OF_MEMORY = 4,
  /** A file or directory could not be opened, read, written or renamed. */
  GRAFT_IO = 5,
  /** A file was read, and is not what it should be: truncated, corrupt, or of another kind. */
  GRAFT_FORMAT = 6,
  /** A callback asked to stop. The object is left in a state from which the work can go on. */
  GRAFT_CANCELLED = 7,
  /** What is asked for is sound, and this version cannot do it. */
  GRAFT_UNSUPPORTED = 8,
  /** The call came at a time when the object cannot take it (training before data is given). */
  GRAFT_INVALID_STATE = 9,
  /** A defect of the library. Please report it with the message. */
  GRAFT_INTERNAL = 10
} graft_status;

/** Returns the name of a status, "GRAFT_OK"; "unknown" for a number that is none. Never NULL. */
const char *graft_status_name(graft_status status);

/**
 * Returns what the last failing call on this thread had to say, in English, UTF-8; "" if none has
 * failed. The text is valid until the next failing call on the same thread. A call that succeeds
 * leaves it as it is. It has at most 1023 bytes and no control characters: what a terminal would act
 * on in the name of a tensor or file is written as \\xNN.
 */
const char *graft_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
