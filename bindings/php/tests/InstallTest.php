<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Loader;
use PHPUnit\Framework\TestCase;

/**
 * `b24 install-library` and `b24 check`, in a copy of the package that lies outside of any checkout.
 */
final class InstallTest extends TestCase
{
    use InDirectory {
        setUp as makeDirectory;
    }

    private const NAME = 'b24-messageservice-1.0.0-x86_64-linux';

    private string $package;

    protected function setUp(): void
    {
        $this->makeDirectory();
        $this->package = "$this->directory/package";
        Package::copied($this->package);
    }

    /**
     * @param array<string, string> $environment
     */
    private function b24(string $arguments, array $environment = [], string $before = ''): Program
    {
        $php = escapeshellarg(PHP_BINARY);
        $code = "$before cd " . escapeshellarg($this->directory) . " && exec $php " . escapeshellarg(basename($this->package)) . "/bin/b24 $arguments";
        return Program::shell($code, $environment + ['B24_MESSAGESERVICE_LIB' => '', 'PATH' => '/usr/bin:/bin']);
    }

    /**
     * An archive with these files, and the checksum of it beside.
     *
     * @param array<string, string> $files
     */
    private function archive(array $files, string $name = self::NAME . '.tar.gz'): string
    {
        $tar = '';
        foreach ($files as $path => $bytes) {
            $head = pack('a100a8a8a8a12a12', self::NAME . "/$path", '0000755', '0000000', '0000000', sprintf('%011o', strlen($bytes)), '0');
            $head = str_pad($head . str_repeat(' ', 8) . '0', 512, "\0");
            $sum = array_sum(array_map('ord', str_split($head)));
            $tar .= substr_replace($head, sprintf("%06o\0 ", $sum), 148, 8) . $bytes . str_repeat("\0", (512 - strlen($bytes) % 512) % 512);
        }
        $bytes = (string) gzencode($tar . str_repeat("\0", 1024), 1);
        file_put_contents("$this->directory/$name", $bytes);
        file_put_contents("$this->directory/SHA256SUMS", hash('sha256', 'x') . "  other\n" . hash('sha256', $bytes) . "  $name\n");
        return $name;
    }

    private static function library(): string
    {
        return (string) file_get_contents(Loader::library());
    }

    /**
     * @param array<string, string> $more files
     */
    private function release(array $more = []): string
    {
        return $this->archive($more + [
            'README.md' => 'text',
            'lib/libb24_messageservice.a' => 'not this',
            'php/lib/libb24_messageservice.so' => self::library(),
            'bin/b24-messageservice' => "#!/bin/sh\necho the program \"\$@\"\n",
        ]);
    }

    /**
     * @return list<string>
     */
    private function installed(): array
    {
        $names = scandir("$this->package/lib") ?: [];
        return array_values(array_diff($names, ['.', '..', '.lock', 'b24_messageservice.h']));
    }

    private function refused(Program $done, string ...$why): void
    {
        self::assertSame([1, ''], [$done->exit, $done->output], $done->errors);
        self::assertStringStartsWith('b24: ', $done->errors);
        foreach ($why as $text) {
            self::assertStringContainsString($text, $done->errors);
        }
    }

    public function testAReleaseIsInstalledAndUsed(): void
    {
        $missing = $this->b24('check');
        self::assertSame(1, $missing->exit);
        self::assertStringContainsString('install-library', $missing->output);

        // One of an earlier version, under the name that another way of installing gave it.
        touch("$this->package/lib/libb24_messageservice.so");
        $done = $this->b24('install-library ' . $this->release());
        self::assertSame([0, ''], [$done->exit, $done->errors]);
        self::assertStringStartsWith('installed libb24_messageservice.so.1 ' . Loader::VERSION, $done->output);
        self::assertSame(['b24-messageservice', 'libb24_messageservice.so.1'], $this->installed());
        self::assertSame("the program drain 50\n", $this->b24('drain 50')->output);

        $check = $this->b24('check');
        self::assertSame([0, ''], [$check->exit, $check->errors], $check->output);
        self::assertStringContainsString('libb24_messageservice.so.1, version', $check->output);
        self::assertStringNotContainsString('no library in', $check->output);
        // The program's own command follows, and its output is not mixed with anything.
        $json = $this->b24('check --json');
        self::assertSame(["the program check --json\n", ''], [$json->output, $json->errors]);
        foreach ([['check', ['B24_PORTAL' => 'portal.example']], ['check --token', []]] as [$arguments, $environment]) {
            $both = $this->b24($arguments, $environment);
            self::assertSame("the program $arguments\n", $both->output);
            self::assertStringStartsWith('ok    PHP ', $both->errors);
        }
        $fpm = $this->b24('check --fpm', ['B24_PORTAL' => 'portal.example']);
        self::assertStringStartsWith('ok    PHP ', $fpm->output);
    }

    public function testTheChecksumDecides(): void
    {
        $archive = $this->release();
        $sum = (string) hash_file('sha256', "$this->directory/$archive");
        $this->refused($this->b24("install-library $archive --sha256 " . hash('sha256', '')), 'has the SHA-256 ' . $sum);
        $this->refused($this->b24("install-library $archive --sha256 12"), '64 hexadecimal digits');
        file_put_contents("$this->directory/SHA256SUMS", "$sum  another-name\n");
        $this->refused($this->b24("install-library $archive"), 'no line for ' . $archive, '--sha256');
        unlink("$this->directory/SHA256SUMS");
        $this->refused($this->b24("install-library $archive"), "no file SHA256SUMS beside $archive", '--sha256');
        self::assertSame([], $this->installed());
        self::assertSame(0, $this->b24("install-library $archive --sha256 " . strtoupper($sum))->exit);
        self::assertSame(2, $this->b24('install-library')->exit);
        foreach (['', " --sha256 $sum"] as $options) {
            $this->refused($this->b24("install-library nowhere.tar.gz$options"), 'there is no file nowhere.tar.gz');
        }
        $this->refused($this->b24('install-library package'), 'package is a directory');
        foreach (['ftp://u:hidden@127.0.0.1:1/a.tar.gz', 'phar://a.tar.gz/b?hidden'] as $other) {
            $done = $this->b24("install-library '$other' --sha256 $sum");
            $this->refused($done, 'neither a file nor an address of http or https');
            self::assertStringNotContainsString('hidden', $done->errors);
            self::assertStringNotContainsString('Warning', $done->errors);
        }
    }

    public function testAPhpThatForbidsWhatIsNeededIsToldSo(): void
    {
        $archive = $this->release();
        $settings = [
            'disable_functions=proc_open' => [$archive, 'php -d disable_functions='],
            'allow_url_fopen=0' => ['https://127.0.0.1:1/a.tar.gz', 'php -d allow_url_fopen=1'],
        ];
        foreach ($settings as $setting => [$source, $advice]) {
            $done = Program::run(
                ['-d', $setting, "$this->package/bin/b24", 'install-library', str_replace(self::NAME, "$this->directory/" . self::NAME, $source)],
                ['B24_MESSAGESERVICE_LIB' => '']
            );
            $this->refused($done, $advice);
            self::assertSame([], $this->installed());
        }
    }

    /**
     * Where the package's directory has a name that is a pattern, too.
     */
    public function testWhatAKilledInstallationHasLeftIsRemoved(): void
    {
        rename($this->package, "$this->directory/package[1]");
        $this->package = "$this->directory/package[1]";
        file_put_contents("$this->package/lib/.installing-library", 'a part');
        $done = $this->b24('install-library ' . $this->release());
        self::assertSame([0, ''], [$done->exit, $done->errors]);
        self::assertSame(['b24-messageservice', 'libb24_messageservice.so.1'], $this->installed());
    }

    /**
     * The header lies beside the library, and goes with it if somebody removes the directory.
     */
    public function testARemovedDirectoryIsMadeAgainWithTheHeader(): void
    {
        $header = "$this->package/lib/b24_messageservice.h";
        $text = (string) file_get_contents($header);
        unlink($header);
        rmdir("$this->package/lib");
        self::assertMatchesRegularExpression('/^fault .*\.h is missing: .*install-library/m', $this->b24('check')->output);
        $this->refused($this->b24('install-library ' . $this->release()), 'there is no header b24_messageservice.h in it');
        self::assertSame([], $this->installed());

        // The two belong together: what lies there is replaced too.
        foreach (['missing' => null, 'another' => 'int b24_version(void);'] as $what => $former) {
            $former === null || file_put_contents($header, $former);
            $done = $this->b24('install-library ' . $this->release(['include/b24_messageservice.h' => $text]));
            self::assertSame([0, ''], [$done->exit, $done->errors], $what);
            self::assertStringEqualsFile($header, $text, $what);
            self::assertSame(0, $this->b24('check')->exit, $what);
        }
        // A header that the library does not fit is not installed.
        $wrong = $this->release(['include/b24_messageservice.h' => 'int b24_not_there(void);']);
        $this->refused($this->b24("install-library $wrong"), 'cannot be loaded here');
        self::assertStringEqualsFile($header, $text);
    }

    /**
     * @return array<string, array{array<string, string>, string}>
     */
    public static function wrongArchives(): array
    {
        $library = 'php/lib/libb24_messageservice.so';
        return [
            'another machine' => [[$library => Elf::of(183)], 'it is for aarch64'],
            'another C library' => [[$library => Elf::of(62, 'libc.so')], 'with musl'],
            'another system' => [['bin/b24_messageservice.dll' => 'MZ'], 'no shared library'],
            'no library' => [['README.md' => 'x'], 'no library of this package in it'],
            'a static one' => [['lib/libb24_messageservice.a' => 'x'], 'no library of this package in it'],
            'a damaged one' => [[$library => Elf::of(62)], 'cannot be loaded here'],
        ];
    }

    /**
     * @dataProvider wrongArchives
     * @param array<string, string> $files
     */
    public function testWhatIsNotForThisPhpIsRefused(array $files, string $why): void
    {
        if (php_uname('m') !== 'x86_64') {
            self::markTestSkipped('the archives of this test are for x86-64 or name what is not');
        }
        file_put_contents("$this->package/lib/libb24_messageservice.so.1", 'the former one');
        $this->refused($this->b24('install-library ' . $this->archive($files)), $why);
        self::assertSame(['libb24_messageservice.so.1'], $this->installed());
        self::assertStringEqualsFile("$this->package/lib/libb24_messageservice.so.1", 'the former one');
    }

    public function testAZipArchiveIsWindowsOwn(): void
    {
        $zip = "$this->directory/b24-messageservice-1.0.0-x86_64-windows.zip";
        if (extension_loaded('zip')) {
            $made = new \ZipArchive();
            $made->open($zip, \ZipArchive::CREATE);
            $made->addFromString('b24/bin/b24_messageservice.dll', str_pad('MZ', 60, "\0") . pack('V', 64) . "PE\0\0" . pack('v', 0x8664) . "\0\0");
            $made->close();
        } else {
            file_put_contents($zip, 'PK');
        }
        $this->refused(
            $this->b24("install-library $zip --sha256 " . hash_file('sha256', $zip)),
            extension_loaded('zip') ? 'it is for Windows, and this PHP runs on Linux' : 'set extension=zip'
        );
        self::assertSame([], $this->installed());
    }

    public function testAnotherVersionIsRefused(): void
    {
        $archive = $this->release();
        $source = (string) file_get_contents("$this->package/src/Loader.php");
        foreach (['1.99.0' => 'is older than this package', '2.0.0' => 'needs version 2'] as $version => $why) {
            file_put_contents(
                "$this->package/src/Loader.php",
                str_replace("'" . Loader::VERSION . "'", "'$version'", $source)
            );
            $this->refused($this->b24("install-library $archive"), $why);
            self::assertSame([], $this->installed());
        }
        // One that lies there already is not used either.
        copy(Loader::library(), "$this->package/lib/libb24_messageservice.so.1");
        $check = $this->b24('check');
        self::assertSame(1, $check->exit);
        self::assertStringContainsString('needs version 2', $check->output);
    }

    public function testWhatIsNoWholeArchiveIsRefused(): void
    {
        $bytes = (string) file_get_contents("$this->directory/" . $this->release());
        foreach (['cut off' => substr($bytes, 0, 20000), 'no archive' => str_repeat('text ', 1000)] as $name => $part) {
            file_put_contents("$this->directory/part", $part);
            $done = $this->b24('install-library part --sha256 ' . hash('sha256', $part));
            $this->refused($done, 'archive');
            self::assertSame([], $this->installed(), $name);
        }
    }

    /**
     * A limit on the size of files takes the place of a full disk. If the signal for it is not ignored, it ends the
     * process in the middle of writing.
     */
    public function testWithoutSpaceOrKilledTheFormerLibraryStays(): void
    {
        $archive = $this->release();
        file_put_contents("$this->package/lib/libb24_messageservice.so.1", 'the former one');
        foreach (["trap '' XFSZ; ulimit -f 100;" => 1, 'ulimit -f 100;' => null] as $limits => $exit) {
            $done = $this->b24("install-library $archive", [], $limits);
            if ($exit === null) {
                self::assertNotSame(0, $done->exit);
            } else {
                $this->refused($done, 'is the disk full?');
                self::assertSame(['libb24_messageservice.so.1'], $this->installed());
            }
            self::assertStringEqualsFile("$this->package/lib/libb24_messageservice.so.1", 'the former one');
        }
        // What a killed one has left is gone after the next.
        self::assertSame(0, $this->b24("install-library $archive")->exit);
        self::assertSame(['b24-messageservice', 'libb24_messageservice.so.1'], $this->installed());
    }

    public function testAnAddressIsReadWithAChecksum(): void
    {
        $archive = $this->release();
        $sum = (string) hash_file('sha256', "$this->directory/$archive");
        $server = proc_open([PHP_BINARY, '-r', <<<'PHP'
            $socket = stream_socket_server('tcp://127.0.0.1:0');
            echo stream_socket_get_name($socket, false), "\n";
            while ($peer = stream_socket_accept($socket, 60)) {
                $path = preg_split('/[ ?]/', (string) fgets($peer))[1] ?? '';
                while (trim((string) fgets($peer)) !== '');
                $file = $argv[1] . '/' . basename($path);
                fwrite($peer, match (true) {
                    str_starts_with($path, '/nowhere') => "HTTP/1.1 302 Found\r\nLocation: ftp://u:hidden@h/a?hidden\r\n\r\n",
                    $path === '/latest' => "HTTP/1.1 302 Found\r\nLocation: http://" . stream_socket_get_name($socket, false) . "/$argv[2]\r\n\r\n",
                    is_file($file) => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" . file_get_contents($file),
                    default => "HTTP/1.1 404 Not Found\r\n\r\n",
                });
                fclose($peer);
            }
            PHP, '--', $this->directory, $archive], [['pipe', 'r'], ['pipe', 'w'], STDERR], $pipes);
        self::assertNotFalse($server);
        try {
            $origin = 'http://' . trim((string) fgets($pipes[1]));
            $this->refused($this->b24("install-library $origin/$archive"), 'is not https: give --sha256');
            $this->refused($this->b24("install-library $origin/none --sha256 $sum"), 'answers 404');
            // Addresses may have secrets: a password, or the signature of a store of files.
            $signed = str_replace('http://', 'http://user:hidden@', $origin);
            $other = str_repeat('0', 64);
            $refusals = [
                "$signed/none?key=hidden#hidden --sha256 $sum" => '/none answers 404',
                "$signed/$archive?key=hidden --sha256 $other" => "/$archive has the SHA-256 $sum",
                "$signed/nowhere?key=hidden --sha256 $sum" => 'leads to ftp://h/a, which',
                "$signed/$archive?key=hidden" => 'is not https',
                "https://user:hidden@127.0.0.1:1/a?key=hidden" => 'cannot be read: Failed to open stream',
                "https://user:hidden@127.0.0.1:1/a?key=hidden --sha256 $sum" => 'cannot be read: Failed to open stream',
            ];
            foreach ($refusals as $arguments => $why) {
                $done = $this->b24('install-library ' . strtr($arguments, ['?' => '\\?', '#' => '\\#']));
                $this->refused($done, $why);
                self::assertStringNotContainsString('hidden', $done->errors);
            }
            self::assertSame([], $this->installed());
            $done = $this->b24("install-library $origin/latest --sha256 $sum");
            self::assertSame([0, ''], [$done->exit, $done->errors]);
            self::assertSame(['b24-messageservice', 'libb24_messageservice.so.1'], $this->installed());
        } finally {
            proc_terminate($server);
            proc_close($server);
        }
    }
}
