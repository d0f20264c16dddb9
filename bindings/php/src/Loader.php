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
    /** The scope in which `ffi.preload` loads the library, if it is set: see bin/b24-preload. */
    public const SCOPE = 'B24_MESSAGESERVICE';

    private const LIBRARY = 'libb24_messageservice.so.1';

    private const PROGRAM = 'b24-messageservice';

    private static ?\FFI $ffi = null;

    /**
     * The library's functions: one FFI object for the process, or for the web request.
     *
     * @throws LibraryUnavailable saying what to set
     */
    public static function ffi(): \FFI
    {
        return self::$ffi ??= self::load();
    }

    /** The C header: the package's own, or the checkout's. */
    public static function header(): string
    {
        foreach ([__DIR__ . '/../lib', __DIR__ . '/../../../include'] as $directory) {
            if (is_file("$directory/b24_messageservice.h")) {
                return "$directory/b24_messageservice.h";
            }
        }
        throw new LibraryUnavailable(
            'b24_messageservice.h is not in the lib directory of the package b24/messageservice: '
            . 'install the whole package, with its lib directory'
        );
    }

    /**
     * The shared library: the one that B24_MESSAGESERVICE_LIB names, the package's own, the checkout's, or
     * else the name for the system's loader.
     */
    public static function library(): string
    {
        $named = getenv('B24_MESSAGESERVICE_LIB');
        if ($named !== false && $named !== '') {
            return $named;
        }
        foreach ([__DIR__ . '/../lib', __DIR__ . '/../../../target/release'] as $directory) {
            foreach ([self::LIBRARY, 'libb24_messageservice.so', 'libb24_messageservice.dylib'] as $name) {
                if (is_file("$directory/$name")) {
                    return (string) realpath("$directory/$name");
                }
            }
        }
        return self::LIBRARY;
    }

    /**
     * The program b24-messageservice: the one beside the library, or else the first on PATH.
     *
     * @throws LibraryUnavailable saying where to put it
     */
    public static function program(): string
    {
        $directories = explode(PATH_SEPARATOR, (string) getenv('PATH'));
        if (str_contains(self::library(), '/')) {
            array_unshift($directories, dirname(self::library()));
        }
        foreach ($directories as $directory) {
            $program = "$directory/" . self::PROGRAM;
            if ($directory !== '' && is_file($program) && is_executable($program)) {
                return $program;
            }
        }
        throw new LibraryUnavailable(
            'the program ' . self::PROGRAM . ' is neither beside the library nor on PATH: put it, which is in the '
            . 'release archive under bin, into the lib directory of the package b24/messageservice'
        );
    }

    private static function load(): \FFI
    {
        if (!extension_loaded('ffi')) {
            throw new LibraryUnavailable(
                'PHP\'s FFI extension is not loaded: install it (Debian: php-common has it), and set '
                . 'extension=ffi in php.ini'
            );
        }
        try {
            return \FFI::scope(self::SCOPE);
        } catch (\FFI\Exception) {
            // Not preloaded: it is loaded now.
        }
        $library = self::library();
        try {
            return \FFI::cdef((string) file_get_contents(self::header()), $library);
        } catch (\FFI\Exception $fault) {
            $advice = str_contains($fault->getMessage(), 'ffi.enable')
                ? 'set ffi.enable=true in php.ini; or ffi.preload to the file that bin/b24-preload writes, '
                    . 'and opcache.preload to the preload.php of this package'
                : "$library cannot be loaded: set B24_MESSAGESERVICE_LIB to libb24_messageservice.so, "
                    . 'or install the package with its lib directory';
            throw new LibraryUnavailable("{$fault->getMessage()}: $advice");
        }
    }
}
