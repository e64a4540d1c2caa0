/* Preloaded into linux.uml: hands the host's kernel the registers of a guest's process in full.

   User Mode Linux 6.1 keeps 2,696 bytes of extended registers (x87, SSE, AVX, AVX-512). A processor with AMX has
   11,008, and the host refuses to set less than all of them (EFAULT): the guest dies before its first instruction.
   What lies behind the 2,696 bytes are the AMX tiles, which no process of the guest has asked for: zeros. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NT_X86_XSTATE = 0x202, LARGEST = 1 << 16 };

static char all[LARGEST];
static size_t size; /* of the host's registers, once they have been read */

static long in_full(int request, long pid, struct iovec *part) {
    struct iovec whole = {all, sizeof all};
    size_t kept;
    long result;
    if (request == PTRACE_SETREGSET && size) {
        kept = part->iov_len < size ? part->iov_len : size;
        memset(all + kept, 0, size - kept);
        memcpy(all, part->iov_base, kept);
        whole.iov_len = size;
        return syscall(SYS_ptrace, (long)request, pid, (long)NT_X86_XSTATE, &whole);
    }
    if (request == PTRACE_SETREGSET)
        return syscall(SYS_ptrace, (long)request, pid, (long)NT_X86_XSTATE, part);
    result = syscall(SYS_ptrace, (long)request, pid, (long)NT_X86_XSTATE, &whole);
    if (result == 0) {
        size = whole.iov_len;
        part->iov_len = part->iov_len < size ? part->iov_len : size;
        memcpy(part->iov_base, all, part->iov_len);
    }
    return result;
}

long ptrace(enum __ptrace_request request, ...) {
    long pid, address, peeked, result;
    void *data;
    va_list arguments;
    va_start(arguments, request);
    pid = va_arg(arguments, int);
    address = va_arg(arguments, long);
    data = va_arg(arguments, void *);
    va_end(arguments);
    if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && address == NT_X86_XSTATE)
        return in_full(request, pid, data);
    if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) { /* glibc returns what these read */
        result = syscall(SYS_ptrace, (long)request, pid, address, &peeked);
        if (result >= 0) {
            errno = 0;
            return peeked;
        }
        return result;
    }
    return syscall(SYS_ptrace, (long)request, pid, address, data);
}
