<?php

declare(strict_types=1);

/*
 * One status update on an open connection, with each client for PHP: ext-curl with one handle for all
 * calls, and this library. Rounds are interleaved.
 *
 *     php bench.php PORT CA_FILE|- ROUNDS CALLS
 *
 * Without a CA_FILE ("-") over plain HTTP. Prints a line of JSON for each round of each contender:
 * microseconds per call, and of those the client's processor time.
 */

use B24\MessageService\Client;
use B24\MessageService\Status;

require __DIR__ . '/../../bindings/php/autoload.php';

const HOST = 'portal.bitrix24.test';
const PROVIDER = 'provider1';
const MESSAGE_ID = '65575980fa531ac284c2ee68f81ebebd';
const TOKEN = 'access-0000000000000001';

/** @return Closure(): void */
function library(int $port, ?string $caFile): Closure
{
    $client = new Client(($caFile === null ? 'http' : 'https') . '://' . HOST, [
        'access_token' => TOKEN,
        'rate_limit' => 'off',
        'proxy' => 'none',
        'resolve' => HOST . ($caFile === null ? ':80' : ':443') . ":127.0.0.1:$port",
        'ca_file' => $caFile,
        'allow_http' => $caFile === null ? 'true' : 'false',
    ]);
    return static function () use ($client): void {
        $client->messageStatusUpdate(PROVIDER, MESSAGE_ID, Status::Delivered);
    };
}

/** @return Closure(): void */
function extCurl(int $port, ?string $caFile): Closure
{
    $scheme = $caFile === null ? 'http' : 'https';
    $curl = curl_init("$scheme://" . HOST . "/rest/messageservice.message.status.update");
    curl_setopt_array($curl, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ['Accept: application/json', 'Content-Type: application/json'],
        CURLOPT_USERAGENT => 'bench/1',
        CURLOPT_CONNECT_TO => ["::127.0.0.1:$port"],
        CURLOPT_TIMEOUT => 30,
        CURLOPT_NOSIGNAL => true,
        CURLOPT_PROXY => '',
    ] + ($caFile === null ? [] : [CURLOPT_CAINFO => $caFile]));
    return static function () use ($curl): void {
        curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode([
            'CODE' => PROVIDER,
            'MESSAGE_ID' => MESSAGE_ID,
            'STATUS' => 'delivered',
            'auth' => TOKEN,
        ], JSON_THROW_ON_ERROR));
        $body = curl_exec($curl);
        $answer = is_string($body) ? json_decode($body, true) : null;
        if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200 || ($answer['result'] ?? null) !== true) {
            exit('the portal answered ' . var_export($body, true) . curl_error($curl));
        }
    };
}

function processorSeconds(): float
{
    $usage = getrusage();
    return $usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']
        + ($usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) / 1e6;
}

[, $port, $caFile, $rounds, $calls] = $argv;
$port = (int) $port;
$caFile = $caFile === '-' ? null : $caFile;
$contenders = [
    'b24-messageservice' => library($port, $caFile),
    'ext-curl' => extCurl($port, $caFile),
];
foreach ($contenders as $call) {
    $call();
}
for ($round = 0; $round < (int) $rounds; $round++) {
    foreach ($contenders as $name => $call) {
        $processor = processorSeconds();
        $start = hrtime(true);
        for ($i = 0; $i < (int) $calls; $i++) {
            $call();
        }
        $wall = (hrtime(true) - $start) / 1e3 / (int) $calls;
        $cpu = (processorSeconds() - $processor) * 1e6 / (int) $calls;
        echo json_encode(['name' => $name, 'wall' => $wall, 'cpu' => $cpu]), "\n";
    }
}
