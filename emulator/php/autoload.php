<?php

declare(strict_types=1);

/**
 * Loads the classes of this package in projects without Composer.
 */
spl_autoload_register(static function (string $class): void {
    $prefix = 'B24\\Portal\\';
    if (str_starts_with($class, $prefix)) {
        $file = __DIR__ . '/src/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});
