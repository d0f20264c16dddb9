<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

/**
 * The package outside of any checkout.
 */
final class Package
{
    /**
     * A copy of the package, as Composer or an archive brings it: without a library.
     */
    public static function copied(string $package): void
    {
        $root = dirname(__DIR__);
        $files = ['autoload.php', 'preload.php', 'bin/b24', 'bin/b24-preload', 'lib/b24_messageservice.h'];
        $sources = [...(glob("$root/src/*.php") ?: []), ...(glob("$root/src/*/*.php") ?: [])];
        foreach ([...$files, ...array_map(static fn ($file) => substr($file, strlen($root) + 1), $sources)] as $file) {
            is_dir(dirname("$package/$file")) || mkdir(dirname("$package/$file"), 0700, true);
            copy("$root/$file", "$package/$file");
        }
    }
}
