/* The function of Windows' bcryptprimitives.dll that Rust's std calls, for wine 8, which lacks it. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T size) {
    while (size > 0) {
        ULONG part = size > 0x10000 ? 0x10000 : (ULONG)size;
        if (!SystemFunction036(bytes, part)) return FALSE;
        bytes += part;
        size -= part;
    }
    return TRUE;
}
