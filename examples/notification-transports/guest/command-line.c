/* The command line, as the bare-metal guest reads it. */
#include "start-info.c"
