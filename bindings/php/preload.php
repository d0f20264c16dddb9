<?php

declare(strict_types=1);

/**
 * For `opcache.preload`: compiles the package's classes once, before the first web request. Under
 * `ffi.enable=preload` only classes that were loaded in this way may use FFI.
 */
foreach ([...(glob(__DIR__ . '/src/*.php') ?: []), ...(glob(__DIR__ . '/src/Exception/*.php') ?: [])] as $file) {
    opcache_compile_file($file);
}
