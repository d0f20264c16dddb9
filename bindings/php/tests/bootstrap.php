<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';
require __DIR__ . '/../../../emulator/php/autoload.php';
require __DIR__ . '/Program.php';
require __DIR__ . '/InDirectory.php';
