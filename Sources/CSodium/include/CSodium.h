/* The door to libsodium: password hashing (Argon2id), random bytes and constant-time comparison. */
#ifndef GATEHOUSE_CSODIUM_H
#define GATEHOUSE_CSODIUM_H
#include <sodium.h>
#endif
