<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Loader;
use PHPUnit\Framework\TestCase;

/**
 * How the library is found and loaded, and what is said if it is not. Each in a process of its own.
 */
final class LoaderTest extends TestCase
{
    use InDirectory;

    private const LOAD = 'try { B24\MessageService\Loader::ffi(); echo "loaded"; }'
        . ' catch (B24\MessageService\Exception\LibraryUnavailable $e) { echo $e->getMessage(); }';

    public function testTheCommandLineNeedsNoSetting(): void
    {
        foreach (['true', 'preload'] as $enable) {
            self::assertSame('loaded', Program::code(self::LOAD, ['-d', "ffi.enable=$enable"])->output);
        }
    }

    public function testWhereFfiIsOffItSaysWhatToSet(): void
    {
        $done = Program::code(self::LOAD, ['-d', 'ffi.enable=0']);
        self::assertStringContainsString('ffi.enable=true', $done->output, $done->errors);
        self::assertStringContainsString('bin/b24-preload', $done->output);
        self::assertStringContainsString('opcache.preload', $done->output);
    }

    public function testWhereThereIsNoFfiItSaysWhatToInstall(): void
    {
        $done = Program::code(self::LOAD, ['-n']);
        if ($done->output === 'loaded') {
            self::markTestSkipped('this PHP has FFI built in');
        }
        self::assertStringContainsString('extension=ffi', $done->output, $done->errors);
    }

    public function testAMissingLibraryIsNamed(): void
    {
        $missing = "$this->directory/libmissing.so";
        $done = Program::code(self::LOAD, [], ['B24_MESSAGESERVICE_LIB' => $missing]);
        self::assertStringContainsString($missing, $done->output, $done->errors);
        self::assertStringContainsString('set B24_MESSAGESERVICE_LIB', $done->output);
    }

    public function testEachPlaceThatWasTriedIsNamed(): void
    {
        mkdir("$this->directory/package/lib", 0700, true);
        copy(Loader::header(), "$this->directory/package/lib/b24_messageservice.h");
        $done = $this->copied(self::LOAD, ['B24_MESSAGESERVICE_LIB' => '', 'LD_LIBRARY_PATH' => '']);
        if ($done->output === 'loaded') {
            self::markTestSkipped('the library is installed on this system');
        }
        $tried = [
            'ffi.preload: ffi.preload is not set',
            "$this->directory/package/lib/libb24_messageservice.so.1: there is no such file",
            "$this->directory/package/lib/libb24_messageservice.so: there is no such file",
            'target/release/libb24_messageservice.so: there is no such file',
            'libb24_messageservice.so.1: Failed loading',
            'vendor/bin/b24 install-library',
            'vendor/bin/b24 check',
        ];
        foreach ($tried as $text) {
            self::assertStringContainsString($text, $done->output, $done->errors);
        }
        // A file that is there and no library is not passed over.
        file_put_contents("$this->directory/package/lib/libb24_messageservice.so", Elf::of(183));
        $done = $this->copied(self::LOAD, ['B24_MESSAGESERVICE_LIB' => '']);
        self::assertStringContainsString('it is for aarch64', $done->output, $done->errors);
    }

    public function testALibraryOfAnotherVersionIsNotUsed(): void
    {
        mkdir("$this->directory/package/lib", 0700, true);
        copy(Loader::header(), "$this->directory/package/lib/b24_messageservice.h");
        $this->copied('');
        $loader = "$this->directory/package/src/Loader.php";
        $text = (string) file_get_contents($loader);
        file_put_contents($loader, str_replace("'" . Loader::VERSION . "'", "'2.1.0'", $text));
        $require = 'require ' . var_export("$this->directory/package/autoload.php", true) . ';';
        $done = Program::run(['-r', $require . self::LOAD]);
        self::assertStringContainsString('this package needs version 2', $done->output, $done->errors);
        self::assertStringContainsString('install-library', $done->output);
    }

    public function testAnotherLibraryIsNotTaken(): void
    {
        $done = Program::code(self::LOAD, [], ['B24_MESSAGESERVICE_LIB' => 'libc.so.6']);
        self::assertStringContainsString('libc.so.6 is not this package\'s library', $done->output, $done->errors);
    }

    public function testAPackageWithoutItsHeaderIsNamed(): void
    {
        $done = $this->copied(self::LOAD);
        self::assertStringContainsString('b24_messageservice.h', $done->output, $done->errors);
        self::assertStringContainsString('lib directory', $done->output);
    }

    public function testAnInstalledPackageUsesItsOwnLibDirectory(): void
    {
        mkdir("$this->directory/package/lib", 0700, true);
        $root = dirname(__DIR__, 3);
        array_map(
            fn (string $file): bool => copy($file, "$this->directory/package/lib/" . basename($file)),
            glob("$root/include/*.h") ?: []
        );
        symlink((string) getenv('B24_MESSAGESERVICE_LIB'), "$this->directory/package/lib/libb24_messageservice.so");
        $where = 'echo B24\MessageService\Loader::library(), " ";';
        $done = $this->copied($where . self::LOAD, ['B24_MESSAGESERVICE_LIB' => '']);
        self::assertStringEndsWith(' loaded', $done->output, $done->errors);
        self::assertSame(
            realpath((string) getenv('B24_MESSAGESERVICE_LIB')),
            explode(' ', $done->output)[0]
        );
    }

    public function testWhatPreloadWritesIsLoadedAsAScope(): void
    {
        $header = "$this->directory/preload.h";
        $written = Program::run([dirname(__DIR__) . '/bin/b24-preload', $header]);
        self::assertSame([0, '', ''], [$written->exit, $written->output, $written->errors]);

        // Without a library to find, only the scope that was loaded at the start can serve.
        $done = Program::code(
            self::LOAD . 'echo FFI::scope("B24_MESSAGESERVICE")->b24_version();',
            ['-d', "ffi.preload=$header", '-d', 'ffi.enable=preload'],
            ['B24_MESSAGESERVICE_LIB' => '/nowhere/lib.so']
        );
        self::assertMatchesRegularExpression('/^loaded\d+\.\d+\.\d+$/', $done->output, $done->errors);
    }

    public function testPreloadSaysWhatIsWrong(): void
    {
        $program = dirname(__DIR__) . '/bin/b24-preload';
        $usage = Program::run([$program]);
        self::assertSame(2, $usage->exit);
        self::assertStringContainsString('usage: b24-preload FILE', $usage->errors);
        $unwritable = Program::run([$program, "$this->directory/missing/preload.h"]);
        self::assertSame(1, $unwritable->exit);
        self::assertStringContainsString('cannot be written', $unwritable->errors);
    }

    /**
     * Runs code with a copy of the package that lies outside of any checkout.
     *
     * @param array<string, string> $environment
     */
    private function copied(string $code, array $environment = []): Program
    {
        $package = "$this->directory/package";
        foreach (['autoload.php', ...$this->sources()] as $file) {
            is_dir(dirname("$package/$file")) || mkdir(dirname("$package/$file"), 0700, true);
            copy(dirname(__DIR__) . "/$file", "$package/$file");
        }
        return Program::run(['-r', 'require ' . var_export("$package/autoload.php", true) . ";$code"], $environment);
    }

    /**
     * @return list<string>
     */
    private function sources(): array
    {
        $root = dirname(__DIR__);
        $files = [...(glob("$root/src/*.php") ?: []), ...(glob("$root/src/*/*.php") ?: [])];
        return array_map(static fn (string $file): string => substr($file, strlen($root) + 1), $files);
    }
}
