/* System calls of EL0: the immediate of SVC. */
#ifndef USER_H
#define USER_H

#define USER_CALL_MIX 1
#define USER_CALL_EXIT 2

#endif
