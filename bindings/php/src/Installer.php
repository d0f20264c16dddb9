<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * Puts the library, its header and the program from a release archive into the package's lib directory, for
 * `bin/b24 install-library`. Each file is whole or not there: it is written under another name, and renamed.
 *
 * @internal
 */
final class Installer
{
    /** More than a release has in one file. */
    private const MOST = 200_000_000;

    private const HEADER = 'b24_messageservice.h';

    /** The names of files that are being written; they stay if this is killed. */
    private const PART = '.installing-';

    public function __construct(private readonly string $directory)
    {
    }

    /**
     * @param string $source the archive: a file, or an address
     * @param string|null $sha256 of the archive; null for what SHA256SUMS beside it says
     *
     * @return string what was installed
     *
     * @throws \RuntimeException saying why nothing was installed
     */
    public function install(string $source, ?string $sha256): string
    {
        if (!is_dir($this->directory) && !@mkdir($this->directory, 0777, true)) {
            throw new \RuntimeException("$this->directory cannot be made");
        }
        $lock = @fopen("$this->directory/.lock", 'c');
        if ($lock === false || !flock($lock, LOCK_EX)) {
            throw new \RuntimeException("$this->directory cannot be written to by this user");
        }
        try {
            $this->clear();
            $isAddress = preg_match('#^https?://#i', $source) === 1;
            if (!$isAddress && preg_match('#^[a-z][a-z0-9+.-]*://#i', $source) === 1) {
                throw new \RuntimeException(self::shown($source) . ' is neither a file nor an address of http or https');
            }
            if (!$isAddress && !is_file($source)) {
                throw new \RuntimeException((is_dir($source) ? "$source is a directory" : "there is no file $source")
                    . ': name an archive b24-messageservice-VERSION-PLATFORM.tar.gz');
            }
            $expected = $this->expected($source, $isAddress, $sha256);
            $archive = $source;
            if ($isAddress) {
                $archive = $this->part('archive');
                self::save(self::open($source, $sha256 !== null), $archive);
            }
            $sum = (string) hash_file('sha256', $archive);
            if (!hash_equals($expected, $sum)) {
                throw new \RuntimeException(
                    self::shown($source) . " has the SHA-256 $sum instead of $expected: it was not installed"
                );
            }
            return $this->unpack($archive, self::shown($source));
        } finally {
            $this->clear();
            flock($lock, LOCK_UN);
        }
    }

    /**
     * @param string $source how messages name the archive
     */
    private function unpack(string $archive, string $source): string
    {
        [$library, $program] = [Platform::libraries(PHP_OS_FAMILY)[0], Platform::program(PHP_OS_FAMILY)];
        $found = [];
        $others = [];
        foreach (self::entries($archive) as [$name, $size, $read]) {
            $kind = match (true) {
                preg_match('#(^|/)(lib)?b24_messageservice(\.so[.\d]*|[.\d]*\.dylib|\.dll)$#', $name) === 1 => 'library',
                basename($name) === $program => 'program',
                basename($name) === self::HEADER => 'header',
                default => '',
            };
            if ($kind === '' || isset($found[$kind])) {
                continue;
            }
            if ($kind === 'library') {
                $bytes = $read();
                $others[$name] = Platform::obstacle($bytes, Platform::here());
                if ($others[$name] !== null) {
                    continue;
                }
            } else {
                $bytes = $read();
            }
            $found[$kind] = $this->part($kind);
            self::write($found[$kind], $bytes, $kind === 'header' ? 0644 : 0755);
        }
        if (!isset($found['library'])) {
            $why = $others === [] ? 'there is no library of this package in it' : (string) end($others);
            throw new \RuntimeException("$source: $why: it was not installed");
        }
        $header = "$this->directory/" . self::HEADER;
        if (!isset($found['header']) && !is_file($header)) {
            throw new \RuntimeException(
                "$source: there is no header " . self::HEADER . " in it, nor in $this->directory: it was not installed"
            );
        }
        $version = $this->tried($found['library'], $found['header'] ?? $header, $source);
        if (isset($found['program'])) {
            self::rename($found['program'], "$this->directory/$program");
        }
        self::rename($found['library'], "$this->directory/$library");
        // After the library: if this is killed in between, a later library fits the earlier header, not the other way round.
        if (isset($found['header'])) {
            self::rename($found['header'], $header);
        }
        // Under another name that is looked for later, there may be an older one.
        foreach (array_slice(Platform::libraries(PHP_OS_FAMILY), 1) as $other) {
            @unlink("$this->directory/$other");
        }
        return "$library $version" . (isset($found['program']) ? " and $program" : '') . " in $this->directory";
    }

    /**
     * Loads the library with the header that it will have, in a process of its own, which a wrong one may end.
     *
     * @return string its version
     */
    private function tried(string $library, string $header, string $source): string
    {
        if (!extension_loaded('ffi')) {
            throw new \RuntimeException(
                'PHP\'s FFI extension is not loaded, without which the library can neither be tried nor used: '
                . '`b24 check` says what to do'
            );
        }
        if (!function_exists('proc_open')) {
            throw new \RuntimeException(
                'the library is tried in a process of its own, and disable_functions in php.ini forbids proc_open: run '
                . '`php -d disable_functions= vendor/bin/b24 install-library ...`'
            );
        }
        $code = 'error_reporting(0); try { echo "version " . FFI::cdef(file_get_contents($argv[1]), $argv[2])'
            . '->b24_version(); } catch (FFI\Exception $fault) { echo $fault->getMessage(); }';
        $command = [PHP_BINARY, '-d', 'ffi.enable=true', '-r', $code, '--', $header, $library];
        $process = proc_open($command, [1 => ['pipe', 'w']], $pipes);
        $told = $process === false ? '' : (string) stream_get_contents($pipes[1]);
        $status = $process === false ? -1 : proc_close($process);
        if (preg_match('/^version (\d+\.\d+\.\d+\S*)$/', $told, $match) !== 1) {
            $why = $told === '' ? "a PHP that loads it ends with status $status" : $told;
            throw new \RuntimeException("$source: its library cannot be loaded here: $why: it was not installed");
        }
        $unfit = Platform::unfit($match[1], Loader::VERSION);
        if ($unfit !== null) {
            throw new \RuntimeException("$source: $unfit: it was not installed");
        }
        return $match[1];
    }

    private function expected(string $source, bool $isAddress, ?string $sha256): string
    {
        if ($sha256 !== null) {
            if (preg_match('/^[0-9a-f]{64}$/i', $sha256) !== 1) {
                throw new \RuntimeException('--sha256 takes 64 hexadecimal digits');
            }
            return strtolower($sha256);
        }
        $name = basename($isAddress ? (string) parse_url($source, PHP_URL_PATH) : $source);
        $path = $isAddress ? (string) preg_replace('/[?#].*$/', '', $source) : $source;
        $sums = dirname($path) . '/SHA256SUMS';
        if ($isAddress) {
            $text = (string) stream_get_contents(self::open($sums, false), 1_000_000);
        } else {
            if (!is_file($sums)) {
                throw new \RuntimeException(
                    "there is no file SHA256SUMS beside $source: put that file of the release there, or give the "
                    . 'archive\'s SHA-256 with --sha256'
                );
            }
            $text = (string) @file_get_contents($sums);
        }
        if (preg_match('/^([0-9a-f]{64}) [ *]' . preg_quote($name, '/') . '\r?$/mi', $text, $match) !== 1) {
            throw new \RuntimeException(
                self::shown($sums) . " has no line for $name: keep that file of the release beside the archive, or give --sha256"
            );
        }
        return strtolower($match[1]);
    }

    /**
     * Opens an address. Without a checksum that the user has given, only what TLS protects is believed.
     *
     * @return resource
     */
    private static function open(string $address, bool $isChecked)
    {
        for ($redirects = 0; $redirects < 6; $redirects++) {
            $shown = self::shown($address);
            if (!$isChecked && preg_match('#^https://#i', $address) !== 1) {
                throw new \RuntimeException("$shown is not https: give --sha256 too, or an https address");
            }
            if (!filter_var(ini_get('allow_url_fopen'), FILTER_VALIDATE_BOOL)) {
                throw new \RuntimeException(
                    "$shown cannot be read, as allow_url_fopen is off in php.ini: run `php -d allow_url_fopen=1 "
                    . 'vendor/bin/b24 install-library ...`, or fetch it in another way, and name the file'
                );
            }
            $options = ['follow_location' => 0, 'ignore_errors' => true, 'timeout' => 60];
            error_clear_last();
            $stream = @fopen($address, 'r', false, stream_context_create(['http' => $options]));
            if ($stream === false) {
                // PHP begins with the address, secrets included.
                $why = preg_replace('/^fopen\(.*\): /s', '', error_get_last()['message'] ?? 'unknown');
                throw new \RuntimeException(
                    "$shown cannot be read: $why. Fetch it in another way, and name the file"
                );
            }
            $headers = (array) (stream_get_meta_data($stream)['wrapper_data'] ?? []);
            $status = preg_match('#^HTTP/\S+ (\d+)#', (string) ($headers[0] ?? ''), $match) === 1 ? (int) $match[1] : 0;
            if ($status === 200) {
                return $stream;
            }
            $to = preg_grep('/^location:/i', array_map('strval', $headers)) ?: [];
            if ($status < 300 || $status > 399 || $to === []) {
                throw new \RuntimeException("$shown answers $status instead of the file");
            }
            $address = trim(substr((string) reset($to), strlen('location:')));
            if (preg_match('#^https?://#i', $address) !== 1) {
                throw new \RuntimeException('the server leads to ' . self::shown($address) . ', which is no whole address');
            }
        }
        throw new \RuntimeException(self::shown($address) . ': the server leads from one address to the next');
    }

    /**
     * An address, or a file, as messages show it: without what may be a secret, a user's name and password and the
     * query, with which stores of files sign addresses.
     */
    private static function shown(string $source): string
    {
        if (!str_contains($source, '//')) {
            return $source;
        }
        return (string) preg_replace(['#//[^?\#]*@#', '/[?#].*$/s'], ['//', ''], $source);
    }

    /**
     * The files of an archive, a tar, compressed or not, or a zip: name, size, and a function that reads it.
     *
     * @return \Generator<int, array{string, int, \Closure(): string}>
     */
    private static function entries(string $archive): \Generator
    {
        if ((string) @file_get_contents($archive, false, null, 0, 2) === 'PK') {
            yield from self::zipped($archive);
            return;
        }
        $isCompressed = (string) @file_get_contents($archive, false, null, 0, 2) === "\x1f\x8b";
        if ($isCompressed && !extension_loaded('zlib')) {
            throw new \RuntimeException("PHP's zlib extension is not loaded: unpack $archive with gunzip, and name the .tar");
        }
        $stream = @fopen(($isCompressed ? 'compress.zlib://' : '') . $archive, 'r');
        if ($stream === false) {
            throw new \RuntimeException("$archive cannot be read");
        }
        $read = static function (int $length) use ($stream, $archive): string {
            $bytes = $length === 0 ? '' : (string) stream_get_contents($stream, $length);
            if (strlen($bytes) !== $length) {
                throw new \RuntimeException("$archive is no tar archive, or is cut off");
            }
            return $bytes;
        };
        while (trim($head = $read(512), "\0") !== '') {
            $name = rtrim(substr($head, 0, 100), "\0");
            $digits = trim(substr($head, 124, 12), " \0");
            if (preg_match('/^[0-7]+$/', $digits) !== 1 || ($size = octdec($digits)) > self::MOST) {
                throw new \RuntimeException("$archive is no tar archive of a release");
            }
            $size = (int) $size;
            $taken = false;
            // Only plain files: a link may lead anywhere.
            if (in_array($head[156], ['0', "\0"], true)) {
                yield [$name, $size, static function () use (&$taken, $read, $size): string {
                    $taken = true;
                    return $read($size);
                }];
            }
            $padding = (512 - $size % 512) % 512;
            for ($left = $taken ? 0 : $size; $left > 0; $left -= $step) {
                $read($step = min($left, 1 << 20));
            }
            $read($padding);
        }
    }

    /**
     * The same of a zip archive, as it is made for Windows.
     *
     * @return \Generator<int, array{string, int, \Closure(): string}>
     */
    private static function zipped(string $archive): \Generator
    {
        if (!extension_loaded('zip')) {
            throw new \RuntimeException("PHP's zip extension is not loaded: set extension=zip in php.ini to read $archive");
        }
        $zip = new \ZipArchive();
        if ($zip->open($archive, \ZipArchive::RDONLY) !== true) {
            throw new \RuntimeException("$archive is no zip archive, or is cut off");
        }
        for ($at = 0; $at < $zip->numFiles; $at++) {
            $entry = $zip->statIndex($at);
            if ($entry === false || $entry['size'] > self::MOST) {
                throw new \RuntimeException("$archive is no archive of a release");
            }
            yield [$entry['name'], $entry['size'], static function () use ($zip, $at, $archive): string {
                $bytes = $zip->getFromIndex($at);
                if ($bytes === false) {
                    throw new \RuntimeException("$archive is damaged");
                }
                return $bytes;
            }];
        }
    }

    /**
     * @param resource $from
     */
    private static function save($from, string $to): void
    {
        $file = @fopen($to, 'x');
        $copied = $file === false ? false : @stream_copy_to_stream($from, $file, self::MOST);
        if ($file === false || $copied === false || !@fflush($file) || !fclose($file)) {
            throw new \RuntimeException("$to cannot be written: is the disk full?");
        }
    }

    private static function write(string $to, string $bytes, int $mode): void
    {
        $file = @fopen($to, 'x');
        if (
            $file === false || @fwrite($file, $bytes) !== strlen($bytes) || !@fsync($file) || !fclose($file)
            || !chmod($to, $mode)
        ) {
            throw new \RuntimeException("$to cannot be written: is the disk full? It was not installed");
        }
    }

    private static function rename(string $from, string $to): void
    {
        if (!@rename($from, $to)) {
            throw new \RuntimeException("$to cannot be replaced: end the programs that use it, and try again");
        }
    }

    private function part(string $name): string
    {
        return "$this->directory/" . self::PART . $name;
    }

    /**
     * Removes what was being written: by this, or by one that was killed.
     */
    private function clear(): void
    {
        // Not glob(): the directory's own name may have what that takes for a pattern.
        foreach (preg_grep('/^' . preg_quote(self::PART, '/') . '/', @scandir($this->directory) ?: []) ?: [] as $file) {
            @unlink("$this->directory/$file");
        }
    }
}
