<?php

declare(strict_types=1);

/**
 * Reads statuses from standard input, one "CODE MESSAGE_ID STATUS" in a line, and reports them to a portal.
 *
 * B24_PORTAL=portal.bitrix24.com B24_ACCESS_TOKEN=… php cli.php <receipts.txt
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/../autoload.php'; // with Composer: vendor/autoload.php
require __DIR__ . '/settings.php';

/**
 * @return Generator<int, array<int, string>>
 */
function receipts(): Generator
{
    while (($line = fgets(STDIN)) !== false) {
        yield preg_split('/\s+/', trim($line)) ?: [];
    }
}

try {
    $client = new Client((string) getenv('B24_PORTAL'), options(
        'access_token',
        'refresh_token',
        'client_id',
        'client_secret',
        'oauth_url',
        'state_dir',
        'ca_file',
        'resolve',
        'proxy',
    ));
} catch (MessageServiceException $error) {
    fwrite(STDERR, "{$error->getMessage()}\n");
    exit(2);
}

$outcomes = $client->messageStatusUpdateBatch(receipts());
$failed = array_filter($outcomes);
foreach ($failed as $number => $error) {
    $advice = $error->isRetryable() ? ' (may be tried again)' : '';
    fwrite(STDERR, 'line ' . ($number + 1) . ": {$error->kind()}: {$error->getMessage()}$advice\n");
}
echo count($outcomes) - count($failed), ' applied, ', count($failed), " not\n";
exit($failed === [] ? 0 : 1);
