<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * Which shared libraries are for which systems. Functions of their arguments alone, but for here().
 *
 * @internal
 */
final class Platform
{
    /** How much of a file is read to see what it is for. */
    public const HEAD = 4096;

    private const MACHINES = [
        'ELF' => [3 => 'i686', 40 => 'arm', 62 => 'x86_64', 183 => 'aarch64', 243 => 'riscv64'],
        'Mach-O' => [0x01000007 => 'x86_64', 0x0100000C => 'aarch64'],
        'PE' => [0x014C => 'i686', 0x8664 => 'x86_64', 0xAA64 => 'aarch64'],
    ];

    /**
     * The names under which the library may lie in a directory; the first is the one that it is installed by, and
     * that the system's loader knows.
     *
     * @param string $family PHP_OS_FAMILY
     *
     * @return non-empty-list<string>
     */
    public static function libraries(string $family): array
    {
        return match ($family) {
            'Windows' => ['b24_messageservice.dll', 'libb24_messageservice.dll'],
            'Darwin' => ['libb24_messageservice.1.dylib', 'libb24_messageservice.dylib'],
            default => ['libb24_messageservice.so.1', 'libb24_messageservice.so'],
        };
    }

    /**
     * The name of the program.
     *
     * @param string $family PHP_OS_FAMILY
     */
    public static function program(string $family): string
    {
        return $family === 'Windows' ? 'b24-messageservice.exe' : 'b24-messageservice';
    }

    /**
     * The machine of a PHP, by its name in Rust's targets.
     *
     * @param string $machine `php_uname('m')`, which is the system's: PHP may be made for 32 bits
     * @param int $bytes PHP_INT_SIZE
     */
    public static function machine(string $machine, int $bytes): string
    {
        $machine = match (strtolower($machine)) {
            'amd64', 'x86_64', 'x64' => 'x86_64',
            'arm64', 'aarch64' => 'aarch64',
            default => strtolower($machine),
        };
        return match (true) {
            $bytes >= 8 => $machine,
            $machine === 'x86_64' => 'i686',
            $machine === 'aarch64' => 'arm',
            default => $machine,
        };
    }

    /**
     * What PHP itself runs on.
     *
     * @return array{string, string, string} the family, the machine, and on Linux the C library: glibc or musl
     */
    public static function here(): array
    {
        $libc = '';
        if (PHP_OS_FAMILY === 'Linux') {
            $libc = str_contains((string) @file_get_contents('/proc/self/maps'), 'ld-musl') ? 'musl' : 'glibc';
        }
        return [PHP_OS_FAMILY, self::machine(php_uname('m'), PHP_INT_SIZE), $libc];
    }

    /**
     * Why a library cannot be loaded by a PHP; null if nothing speaks against it.
     *
     * @param string $library its bytes: the whole, or its beginning, which says nothing of the C library
     * @param array{string, string, string} $here
     */
    public static function obstacle(string $library, array $here): ?string
    {
        $made = self::madeFor($library);
        if ($made === null) {
            return 'it is no shared library';
        }
        [$format, $machine, $libc] = $made;
        [$family, $own, $ownLibc] = $here;
        $needed = match ($family) {
            'Windows' => 'PE',
            'Darwin' => 'Mach-O',
            default => 'ELF',
        };
        $systems = ['PE' => 'Windows', 'Mach-O' => 'macOS', 'ELF' => 'Linux'];
        return match (true) {
            $format !== $needed => "it is for $systems[$format], and this PHP runs on $family",
            $machine !== $own => "it is for $machine, and this PHP is for $own",
            $libc !== '' && $ownLibc !== '' && $libc !== $ownLibc
                => "it is for systems with $libc, and this PHP uses $ownLibc",
            default => null,
        };
    }

    /**
     * Why a version of the library does not fit a version of this package; null if it does. Later ones of the same
     * major version have everything.
     */
    public static function unfit(string $library, string $package): ?string
    {
        [$major] = explode('.', $package);
        [$other] = explode('.', $library);
        return match (true) {
            $major !== $other => "it is version $library, and this package needs version $major",
            version_compare($library, $package, '<')
                => "it is version $library, which is older than this package, $package",
            default => null,
        };
    }

    /**
     * The format of a library, its machine, and of an ELF file the C library that it names.
     *
     * @return array{string, string, string}|null
     */
    private static function madeFor(string $library): ?array
    {
        $number = static function (string $format, int $at) use ($library): int {
            $found = strlen($library) >= $at + 4 ? unpack($format, $library, $at) : false;
            return $found === false ? -1 : $found[1];
        };
        [$kind, $machine] = match (true) {
            str_starts_with($library, "\x7fELF") => ['ELF', $number('v', 18)],
            str_starts_with($library, "\xCF\xFA\xED\xFE") => ['Mach-O', $number('V', 4)],
            str_starts_with($library, 'MZ') && substr($library, max(0, $number('V', 60)), 4) === "PE\0\0"
                => ['PE', $number('v', $number('V', 60) + 4)],
            default => ['', -1],
        };
        if ($kind === '') {
            return null;
        }
        $libc = match (true) {
            $kind !== 'ELF' => '',
            str_contains($library, "\0libc.so.6\0") => 'glibc',
            str_contains($library, "\0libc.so\0"), str_contains($library, "\0libc.musl-") => 'musl',
            default => '',
        };
        return [$kind, self::MACHINES[$kind][$machine] ?? "machine $machine", $libc];
    }
}
