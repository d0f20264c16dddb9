<?php

declare(strict_types=1);

/**
 * For `opcache.preload`: compiles the package's classes once, before the first web request. Classes so
 * loaded may use FFI under `ffi.enable=preload`, which other code may not.
 */
foreach ([...(glob(__DIR__ . '/src/*.php') ?: []), ...(glob(__DIR__ . '/src/Exception/*.php') ?: [])] as $file) {
    opcache_compile_file($file);
}
