/* Has a file open and lets nobody else in, as a virus scanner may, until the standard input ends. */
#include <stdio.h>
#include <windows.h>

int main(int count, char **arguments) {
    HANDLE file = INVALID_HANDLE_VALUE;
    /* Others may have it open for a moment, too. */
    for (int attempt = 0; count == 2 && attempt < 1000 && file == INVALID_HANDLE_VALUE; attempt++) {
        file = CreateFileA(arguments[1], GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
        if (file == INVALID_HANDLE_VALUE) Sleep(1);
    }
    if (file == INVALID_HANDLE_VALUE) {
        fprintf(stderr, "hold: error %lu\n", GetLastError());
        return 1;
    }
    puts("held");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    CloseHandle(file);
    return 0;
}
