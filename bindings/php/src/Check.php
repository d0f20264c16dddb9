<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\LibraryUnavailable;

/**
 * What is wrong with this PHP, for `bin/b24 check`.
 *
 * @internal
 */
final class Check
{
    /**
     * Each point that was looked at: whether it is `ok`, a `note` or a `fault`, and what was found.
     *
     * @param bool $fpm judges the settings as FPM would, in place of those for the command line
     *
     * @return list<array{string, string}>
     */
    public static function findings(bool $fpm = false): array
    {
        [$family, $machine, $libc] = Platform::here();
        $ini = php_ini_loaded_file();
        $found = [
            ['ok', 'PHP ' . PHP_VERSION . (PHP_ZTS ? ' with threads' : '') . " for $family $machine"
                . ($libc === '' ? '' : " ($libc)") . ', ' . ($ini === false ? 'without a php.ini' : "with $ini")],
            PHP_INT_SIZE >= 8
                ? ['ok', '64 bits']
                : ['fault', 'this PHP has 32 bits, and there is no library for it: use one with 64'],
            ...self::ffi(
                $fpm ? 'fpm-fcgi' : PHP_SAPI,
                extension_loaded('ffi'),
                (string) ini_get('ffi.enable'),
                (string) ini_get('ffi.preload'),
                (string) ini_get('opcache.preload')
            ),
            self::header(),
            ...self::library(),
        ];
        try {
            $found[] = ['ok', 'the program ' . Loader::shown(Loader::program())];
        } catch (LibraryUnavailable $missing) {
            $found[] = ['note', $missing->getMessage()];
        }
        return $found;
    }

    /**
     * Whether this PHP allows FFI, by its settings.
     *
     * @return list<array{string, string}>
     */
    public static function ffi(string $sapi, bool $isLoaded, string $enable, string $preload, string $classes): array
    {
        if (!$isLoaded) {
            return [['fault', 'the extension FFI is not loaded: install it (Debian: php-common has it; Docker\'s images: '
                . 'docker-php-ext-install ffi), and set extension=ffi']];
        }
        $enable = strtolower($enable);
        if (in_array($enable, ['1', 'on', 'yes', 'true'], true)) {
            return [['ok', 'ffi.enable=true']];
        }
        $isCommandLine = in_array($sapi, ['cli', 'phpdbg', 'embed'], true);
        if ($enable === 'preload' && $isCommandLine) {
            return [
                ['ok', 'ffi.enable=preload, which allows FFI on the command line'],
                ['note', 'a web server\'s PHP needs more: look with `php -c ITS_PHP_INI vendor/bin/b24 check --fpm`'],
            ];
        }
        $missing = array_keys(array_filter([
            'ffi.preload=FILE, which `b24-preload FILE` writes' => $preload === '',
            'opcache.preload=' . Loader::shown(__DIR__ . '/../preload.php') => $classes === '',
        ]));
        if ($enable === 'preload' && $missing === []) {
            return [['ok', "ffi.enable=preload, ffi.preload=$preload, opcache.preload=$classes"]];
        }
        return [['fault', "ffi.enable=$enable does not allow FFI to $sapi: set ffi.enable=true, or ffi.enable=preload"
            . ($missing === [] ? '' : ' and ' . implode(' and ', $missing))]];
    }

    /**
     * @return array{string, string}
     */
    private static function header(): array
    {
        try {
            return ['ok', 'the header ' . Loader::shown(Loader::header())];
        } catch (LibraryUnavailable $missing) {
            return ['fault', $missing->getMessage()];
        }
    }

    /**
     * @return list<array{string, string}>
     */
    private static function library(): array
    {
        // Of no interest once a library is found and fits.
        $found = [];
        foreach (Loader::places() as $place => $isThere) {
            if (!$isThere) {
                $found[] = ['note', 'no library in ' . Loader::shown($place)];
            }
        }
        $library = Loader::library();
        if (is_file($library)) {
            $obstacle = Platform::obstacle((string) file_get_contents($library), Platform::here());
            if ($obstacle !== null) {
                return [...$found, ['fault', "$library: $obstacle"]];
            }
        }
        if (!extension_loaded('ffi')) {
            return [...$found, ['note', "$library was not tried without FFI"]];
        }
        try {
            $version = Loader::ffi()->b24_version();
            return [['ok', "$library, version $version, for this package " . Loader::VERSION]];
        } catch (LibraryUnavailable $fault) {
            return [...$found, ['fault', $fault->getMessage()]];
        }
    }
}
