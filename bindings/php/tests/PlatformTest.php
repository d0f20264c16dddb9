<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Loader;
use B24\MessageService\Platform;
use PHPUnit\Framework\TestCase;

/**
 * Which library is for which system.
 */
final class PlatformTest extends TestCase
{
    public const LINUX = ['Linux', 'x86_64', 'glibc'];

    private static function mach(int $processor): string
    {
        return "\xCF\xFA\xED\xFE" . pack('V', $processor) . str_repeat("\0", 100);
    }

    private static function pe(int $machine): string
    {
        return str_pad('MZ', 60, "\0") . pack('V', 128) . str_repeat("\0", 64) . "PE\0\0" . pack('v', $machine) . "\0\0";
    }

    public function testEachSystemHasItsNames(): void
    {
        self::assertSame('libb24_messageservice.so.1', Platform::libraries('Linux')[0]);
        self::assertSame('libb24_messageservice.so.1', Platform::libraries('BSD')[0]);
        self::assertSame('libb24_messageservice.1.dylib', Platform::libraries('Darwin')[0]);
        self::assertSame('b24_messageservice.dll', Platform::libraries('Windows')[0]);
        self::assertSame('b24-messageservice.exe', Platform::program('Windows'));
        self::assertSame('b24-messageservice', Platform::program('Linux'));
    }

    public function testAMachineIsThatOfPhp(): void
    {
        self::assertSame('x86_64', Platform::machine('AMD64', 8));
        self::assertSame('aarch64', Platform::machine('arm64', 8));
        self::assertSame('i686', Platform::machine('x86_64', 4));
        self::assertSame('arm', Platform::machine('aarch64', 4));
        self::assertSame('riscv64', Platform::machine('riscv64', 8));
    }

    /**
     * @return array<string, array{string, array{string, string, string}, ?string}>
     */
    public static function libraries(): array
    {
        return [
            'its own' => [Elf::of(62), self::LINUX, null],
            'arm64 on x86-64' => [Elf::of(183), self::LINUX, 'it is for aarch64, and this PHP is for x86_64'],
            'x86-64 on arm64' => [Elf::of(62), ['Linux', 'aarch64', 'glibc'], 'it is for x86_64'],
            'musl on glibc' => [Elf::of(62, 'libc.so'), self::LINUX, 'it is for systems with musl'],
            'Alpine\'s name' => [Elf::of(62, 'libc.musl-x86_64.so.1'), ['Linux', 'x86_64', 'musl'], null],
            'glibc on musl' => [Elf::of(62), ['Linux', 'x86_64', 'musl'], 'it is for systems with glibc'],
            'no C library' => [Elf::of(62, ''), ['Linux', 'x86_64', 'musl'], null],
            'unknown machine' => [Elf::of(2), self::LINUX, 'it is for machine 2'],
            'Windows on Linux' => [self::pe(0x8664), self::LINUX, 'it is for Windows'],
            'Windows' => [self::pe(0x8664), ['Windows', 'x86_64', ''], null],
            'Windows on arm64' => [self::pe(0x8664), ['Windows', 'aarch64', ''], 'it is for x86_64'],
            'macOS' => [self::mach(0x0100000C), ['Darwin', 'aarch64', ''], null],
            'Intel on Apple' => [self::mach(0x01000007), ['Darwin', 'aarch64', ''], 'it is for x86_64'],
            'macOS on Linux' => [self::mach(0x0100000C), self::LINUX, 'it is for macOS'],
            'text' => ['not a library', self::LINUX, 'it is no shared library'],
            'nothing' => ['', self::LINUX, 'it is no shared library'],
            'cut off' => ["\x7fELF", self::LINUX, 'it is for machine -1'],
            'a program of DOS' => ['MZ', self::LINUX, 'it is no shared library'],
        ];
    }

    /**
     * @dataProvider libraries
     * @param array{string, string, string} $here
     */
    public function testAnotherSystemsLibraryIsNamed(string $library, array $here, ?string $why): void
    {
        $found = Platform::obstacle($library, $here);
        if ($why === null) {
            self::assertNull($found);
        } else {
            self::assertStringContainsString($why, (string) $found);
        }
    }

    public function testTheLibraryOfTheseTestsIsForThisPhp(): void
    {
        self::assertNull(Platform::obstacle((string) file_get_contents(Loader::library()), Platform::here()));
    }

    public function testALaterMinorVersionFits(): void
    {
        self::assertNull(Platform::unfit('1.2.0', '1.1.9'));
        self::assertNull(Platform::unfit('1.1.0', '1.1.0'));
        self::assertStringContainsString('older', (string) Platform::unfit('1.1.0', '1.1.1'));
        self::assertStringContainsString('needs version 1', (string) Platform::unfit('2.0.0', '1.9.0'));
        self::assertStringContainsString('needs version 2', (string) Platform::unfit('1.9.0', '2.0.0'));
    }

    public function testThePackagesVersionIsThatOfTheLibrary(): void
    {
        self::assertSame(Loader::ffi()->b24_version(), Loader::VERSION);
    }
}
