<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';
require __DIR__ . '/Portal.php';
require __DIR__ . '/Program.php';
