#include "graft_host_floats.h"

#include "float_environment.h"

unsigned gk_leave_host_floats(void) { return gk_plain_floats(); }

void gk_enter_host_floats(unsigned before) { gk_restore_floats(before); }
