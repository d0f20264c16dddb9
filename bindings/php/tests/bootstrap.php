<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';
require __DIR__ . '/../../../emulator/php/autoload.php';
require __DIR__ . '/Program.php';
require __DIR__ . '/InDirectory.php';
require __DIR__ . '/Elf.php';
require __DIR__ . '/Package.php';
require __DIR__ . '/psr/CallableLogger.php';
