<?php

declare(strict_types=1);

/**
 * Reports one status and answers "ok", or with 500 and what went wrong. With `log` in the address it shows the log
 * records, too.
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Log;
use B24\MessageService\Tests\CallableLogger;

require __DIR__ . '/../../autoload.php';
require __DIR__ . '/../psr/CallableLogger.php';
require __DIR__ . '/../../examples/settings.php';

try {
    if (isset($_GET['log'])) {
        Log::to(new CallableLogger(static function (string $level, string $message): void {
            echo "$level $message\n";
        }), 'debug');
    }
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
        'rate_limit',
    ));
    $client->messageStatusUpdate('provider1', (string) $_GET['id'], 'delivered');
    echo 'ok ', getmypid();
} catch (MessageServiceException | FFI\Exception $error) {
    http_response_code(500);
    echo $error::class, ': ', $error->getMessage();
}
