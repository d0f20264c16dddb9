<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\LibraryUnavailable;

/**
 * Finds and loads the shared library. Only this class loads it.
 *
 * @internal
 */
final class Loader
{
    /** The version of this package. A library of the same major version fits, unless it is older. */
    public const VERSION =
        // make generate writes: version
        '1.0.0'
        // end: version
        ;

    /** The scope in which `ffi.preload` loads the library, if it is set: see bin/b24-preload. */
    public const SCOPE = 'B24_MESSAGESERVICE';

    /** Where `bin/b24 install-library` puts the library, and where the header is. */
    public const DIRECTORY = __DIR__ . '/../lib';

    private static ?\FFI $ffi = null;

    /**
     * The library's functions: one FFI object for the process, or for the web request.
     *
     * @throws LibraryUnavailable saying what was tried, and what to do
     */
    public static function ffi(): \FFI
    {
        return self::$ffi ??= self::load();
    }

    /** The C header, which is part of the package and comes with a library too. */
    public static function header(): string
    {
        $header = self::DIRECTORY . '/b24_messageservice.h';
        if (is_file($header)) {
            return $header;
        }
        throw new LibraryUnavailable(
            self::shown($header) . ' is missing: `vendor/bin/b24 install-library` brings it with the library; or '
            . 'install the whole package b24/messageservice, with its lib directory'
        );
    }

    /**
     * The shared library: the one that B24_MESSAGESERVICE_LIB names, the package's own, the checkout's, or
     * else the name for the system's loader.
     */
    public static function library(): string
    {
        foreach (self::places() as $place => $isThere) {
            if ($isThere) {
                return str_contains($place, '/') ? (realpath($place) ?: $place) : $place;
            }
        }
        return Platform::libraries(PHP_OS_FAMILY)[0];
    }

    /**
     * Where the library is looked for, in this order, and whether it is there. The last one that is there, a name for
     * the system's loader, may not be found by that. If a file is named by the environment, it is the only one.
     *
     * @return array<string, bool>
     */
    public static function places(): array
    {
        $named = getenv('B24_MESSAGESERVICE_LIB');
        if ($named !== false && $named !== '') {
            return [$named => true];
        }
        $names = Platform::libraries(PHP_OS_FAMILY);
        $places = [];
        foreach ([self::DIRECTORY, __DIR__ . '/../../../target/release'] as $directory) {
            foreach ($names as $name) {
                $places["$directory/$name"] = is_file("$directory/$name");
            }
        }
        return [...$places, $names[0] => true];
    }

    /**
     * The program b24-messageservice: the one beside the library, or else the first on PATH.
     *
     * @throws LibraryUnavailable saying where to put it
     */
    public static function program(): string
    {
        $name = Platform::program(PHP_OS_FAMILY);
        $directories = explode(PATH_SEPARATOR, (string) getenv('PATH'));
        if (preg_match('#[/\\\\]#', self::library()) === 1) {
            array_unshift($directories, dirname(self::library()));
        }
        foreach ($directories as $directory) {
            $program = "$directory/$name";
            if ($directory !== '' && is_file($program) && is_executable($program)) {
                return $program;
            }
        }
        throw new LibraryUnavailable(
            "the program $name is neither beside the library nor on PATH: bin/b24 install-library installs both"
        );
    }

    /**
     * A path without the steps back in it.
     */
    public static function shown(string $path): string
    {
        $directory = realpath(dirname($path));
        return $directory === false ? $path : $directory . '/' . basename($path);
    }

    private static function load(): \FFI
    {
        if (!extension_loaded('ffi')) {
            throw new LibraryUnavailable(
                'PHP\'s FFI extension is not loaded: install it (Debian: php-common has it; Docker\'s images: '
                . 'docker-php-ext-install ffi), and set extension=ffi in php.ini'
            );
        }
        $tried = [];
        try {
            return self::fitting(\FFI::scope(self::SCOPE), 'the library that ffi.preload has loaded', true);
        } catch (\FFI\Exception $fault) {
            // Not preloaded: it is loaded now.
            $preload = (string) ini_get('ffi.preload');
            $tried[] = 'the scope ' . self::SCOPE . ' of ffi.preload: '
                . ($preload === '' ? 'ffi.preload is not set' : "$preload is set, and: {$fault->getMessage()}");
        }
        $library = self::library();
        foreach (self::places() as $place => $isThere) {
            if (!$isThere) {
                $tried[] = self::shown($place) . ': there is no such file';
            }
        }
        try {
            $ffi = \FFI::cdef((string) file_get_contents(self::header()), $library);
        } catch (\FFI\Exception $fault) {
            $tried[] = "$library: " . self::cause($fault, $library);
            throw new LibraryUnavailable(
                self::advice($fault, $library) . '. Tried: (' . implode('; ', $tried)
                . '). `vendor/bin/b24 check` looks at all of it'
            );
        }
        return self::fitting($ffi, $library, false);
    }

    /**
     * @throws LibraryUnavailable if the library's version does not fit this package
     */
    private static function fitting(\FFI $ffi, string $library, bool $preloaded): \FFI
    {
        $unfit = Platform::unfit(Signals::held(static fn () => $ffi->b24_version()), self::VERSION);
        if ($unfit === null) {
            return $ffi;
        }
        throw new LibraryUnavailable("$library: $unfit: " . ($preloaded
            ? 'write the header for ffi.preload again with bin/b24-preload, and restart FPM'
            : 'install the library of this package\'s version with bin/b24 install-library'));
    }

    private static function cause(\FFI\Exception $fault, string $library): string
    {
        $obstacle = is_file($library)
            ? Platform::obstacle((string) file_get_contents($library), Platform::here())
            : null;
        return $obstacle === null ? $fault->getMessage() : "$obstacle ({$fault->getMessage()})";
    }

    private static function advice(\FFI\Exception $fault, string $library): string
    {
        $enable = strtolower((string) ini_get('ffi.enable'));
        return match (true) {
            str_contains($fault->getMessage(), 'ffi.enable') && $enable === 'preload'
                => 'ffi.enable=preload, which is PHP\'s default, allows FFI on the command line and to preloaded classes '
                . 'alone: set ffi.enable=true in the php.ini of ' . PHP_SAPI . '; or ffi.preload to the file that '
                . 'bin/b24-preload writes, and opcache.preload to the preload.php of this package',
            str_contains($fault->getMessage(), 'ffi.enable')
                => 'ffi.enable is off: set ffi.enable=true in php.ini; or ffi.enable=preload, ffi.preload to the file '
                . 'that bin/b24-preload writes, and opcache.preload to the preload.php of this package',
            str_contains($fault->getMessage(), 'resolving')
                => "$library is not this package's library, or an older one: install that with `vendor/bin/b24 "
                . 'install-library`, or set B24_MESSAGESERVICE_LIB',
            default => "$library cannot be loaded: install the library with `vendor/bin/b24 install-library`, "
                . 'or set B24_MESSAGESERVICE_LIB to its file',
        };
    }
}
