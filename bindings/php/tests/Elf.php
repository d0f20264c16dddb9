<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

/**
 * Files that look like shared libraries of Linux.
 */
final class Elf
{
    /** The beginning of an ELF file for a machine, and the name of its C library. */
    public static function of(int $machine, string $libc = 'libc.so.6'): string
    {
        return "\x7fELF\x02\x01\x01" . str_repeat("\0", 9) . pack('vv', 3, $machine) . str_repeat("\0", 100) . "\0$libc\0";
    }
}
