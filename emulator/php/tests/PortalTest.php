<?php

declare(strict_types=1);

namespace B24\Portal\Tests;

use B24\Portal\Portal;
use B24\Portal\PortalException;
use PHPUnit\Framework\TestCase;

/**
 * The portal as tests in PHP use it.
 */
final class PortalTest extends TestCase
{
    /**
     * A call of the portal by nothing but PHP itself: its result or its error.
     *
     * @param array<string, mixed> $params
     */
    private static function call(Portal $portal, string $method, array $params = []): mixed
    {
        $context = stream_context_create(['http' => [
            'method' => 'POST',
            'header' => ['Content-Type: application/json', 'User-Agent: test/1'],
            'content' => json_encode(['auth' => $portal->accessToken] + $params, JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
        ]]);
        $url = "http://127.0.0.1:{$portal->httpPort}/rest/messageservice.$method";
        $answer = @file_get_contents($url, false, $context);
        $answer = $answer === false ? ['result' => null] : json_decode($answer, true, 8, JSON_THROW_ON_ERROR);
        return $answer['error'] ?? $answer['result'];
    }

    private static function update(Portal $portal, string $message, string $status = 'sent'): mixed
    {
        $params = ['CODE' => 'provider1', 'MESSAGE_ID' => $message, 'STATUS' => $status];
        return self::call($portal, 'message.status.update', $params);
    }

    public function testWhatIsToldIsStored(): void
    {
        $portal = Portal::fresh();
        self::assertTrue(self::update($portal, 'm1'));
        self::assertTrue(self::update($portal, 'm1', 'delivered'));
        self::assertSame(['provider1|m1' => 'delivered'], $portal->messages());
        self::assertSame(['provider1|m1' => ['sent', 'delivered']], $portal->history());
        $seen = $portal->seen();
        self::assertSame([2, 2, []], [$seen['requests'], $seen['updates'], $seen['bad']]);
        self::assertSame([2], array_column($portal->seen(1)['log'], 'n'));
    }

    public function testEachResetIsAnotherInstallation(): void
    {
        $portal = Portal::fresh();
        $first = [$portal->host, $portal->clientId, $portal->clientSecret, $portal->accessToken, $portal->refreshToken];
        self::update($portal, 'm1');
        self::assertSame($portal, Portal::fresh(['messages' => ['provider1|m2'], 'refresh_token' => 'mine']));
        self::assertSame([], $portal->messages());
        self::assertSame('ERROR_MESSAGE_NOT_FOUND', self::update($portal, 'm1'));
        self::assertTrue(self::update($portal, 'm2'));
        $now = [$portal->host, $portal->clientId, $portal->clientSecret, $portal->accessToken, $portal->refreshToken];
        self::assertSame([], array_intersect($first, $now));
        self::assertSame('mine', $portal->refreshToken);
        self::assertSame('mine', $portal->tokens()['refresh_token']);
    }

    public function testSendersAreShown(): void
    {
        $portal = Portal::fresh(['senders' => ['error'], 'message_statuses' => ['7' => 'Read']]);
        $sender = ['CODE' => 'p1', 'TYPE' => 'SMS', 'HANDLER' => 'https://handler.test/', 'NAME' => ['en' => 'P']];
        self::assertTrue(self::call($portal, 'sender.add', $sender));
        self::assertSame(['error', 'p1'], self::call($portal, 'sender.list'));
        self::assertSame(['error', 'p1'], array_keys($portal->senders()));
        self::assertSame(['en' => 'P'], $portal->senders()['p1']['name']);
        self::assertSame('Read', self::call($portal, 'message.status.get', ['MESSAGE_ID' => 7]));
    }

    public function testFaultsAndSettings(): void
    {
        $portal = Portal::fresh();
        $portal->fault('error', ['error' => 'FIRST', 'count' => 2]);
        $portal->fault('drop_after');
        $told = array_map(static fn () => self::update($portal, 'm1'), range(1, 4));
        self::assertSame(['FIRST', 'FIRST', null, true], $told);
        $portal->set(['expired' => true]);
        self::assertSame('expired_token', self::update($portal, 'm1'));
    }

    public function testWhatHangsIsAwaitedAndReleased(): void
    {
        $portal = Portal::fresh();
        $portal->fault('hang_after');
        $socket = stream_socket_client("tcp://127.0.0.1:{$portal->httpPort}");
        self::assertIsResource($socket);
        $body = json_encode([
            'auth' => $portal->accessToken, 'CODE' => 'provider1', 'MESSAGE_ID' => 'm1', 'STATUS' => 'sent',
        ]);
        fwrite($socket, "POST /rest/messageservice.message.status.update HTTP/1.1\r\nHost: p.test\r\n"
            . 'Content-Type: application/json' . "\r\nContent-Length: " . strlen((string) $body) . "\r\n\r\n$body");
        $portal->wait(1);
        try {
            $portal->wait(2, 1, 0.01);
            self::fail('nothing more had come');
        } catch (PortalException $missed) {
            self::assertSame(
                'after 0.01 s there were 1 of 2 calls and 0 of 1 requests for a renewal',
                $missed->getMessage()
            );
        }
        $portal->release();
        self::assertSame('', stream_get_contents($socket));
        self::assertSame(['provider1|m1' => 'sent'], $portal->messages());
    }

    public function testAClientFindsThePortal(): void
    {
        $portal = Portal::fresh();
        self::assertSame([
            'access_token' => $portal->accessToken,
            'ca_file' => $portal->caFile,
            'proxy' => 'none',
            'resolve' => [
                "{$portal->host}:443:127.0.0.1:{$portal->httpsPort}",
                "oauth.bitrix24.test:443:127.0.0.1:{$portal->oauthPort}",
            ],
        ], $portal->options());
        $options = $portal->renewable(['access_token' => 'other', 'client_id' => 'mine']);
        self::assertSame(
            ['other', 'mine', $portal->refreshToken, $portal->clientSecret, 'https://oauth.bitrix24.test'],
            [
                $options['access_token'], $options['client_id'], $options['refresh_token'],
                $options['client_secret'], $options['oauth_url'],
            ]
        );
    }

    /**
     * The fields of a form, as PHP reads them.
     *
     * @param array<string, mixed> $request
     * @return array<string, mixed>
     */
    private static function fields(array $request): array
    {
        self::assertSame('application/x-www-form-urlencoded', $request['content_type']);
        parse_str($request['body'], $fields);
        return $fields;
    }

    public function testAnInstallationIsShownInThreeForms(): void
    {
        $portal = Portal::fresh();
        $event = self::fields($portal->install());
        $endpoint = "https://{$portal->host}:{$portal->httpsPort}/rest/";
        self::assertSame('ONAPPINSTALL', $event['event']);
        self::assertSame(
            [$portal->accessToken, $portal->refreshToken, $endpoint],
            [$event['auth']['access_token'], $event['auth']['refresh_token'], $event['auth']['client_endpoint']]
        );
        $frame = $portal->install(['as' => 'frame', 'pair' => 'user']);
        parse_str($frame['query'], $query);
        self::assertSame($portal->host, $query['DOMAIN']);
        $pair = $portal->tokens()['pairs'][$frame['pair']];
        self::assertSame($pair['access_token'], self::fields($frame)['AUTH_ID']);
        self::assertSame([false, 68], [$pair['admin'], $pair['user_id']]);
        $told = json_decode($portal->install(['as' => 'oauth'])['body'], true, 8, JSON_THROW_ON_ERROR);
        self::assertSame($endpoint, $told['client_endpoint']);
        $portal->spend(1);
        self::assertSame([false, true], array_column($portal->tokens()['pairs'], 'lost'));
        self::assertSame('1', self::fields($portal->uninstall(['clean' => true]))['data']['CLEAN']);
        self::assertFalse($portal->tokens()['installed']);
        self::assertSame('APPLICATION_NOT_FOUND', self::update($portal, 'm1'));
    }

    public function testTheRealFieldsAreReadAmongHostileOnes(): void
    {
        $portal = Portal::fresh();
        $token = $portal->tokens()['application_token'];
        foreach (['brackets', 'encoding'] as $forge) {
            $fields = self::fields($portal->message(['forge' => $forge]));
            self::assertSame($token, $fields['auth']['application_token'], $forge);
        }
        $fields = self::fields($portal->message(['forge' => 'brackets_text']));
        self::assertSame('forged', $fields['auth']);
        $fields = self::fields($portal->message(['forge' => 'token']));
        self::assertNotSame($token, $fields['auth']['application_token']);
        self::assertSame(strlen($token), strlen($fields['auth']['application_token']));
    }

    public function testOtherPortalsHaveMessagesOfTheirOwn(): void
    {
        $portal = Portal::fresh(['portals' => 2]);
        $host = 'p2.bitrix24.test';
        $message = $portal->message(['host' => $host, 'text' => 'A & B', 'code' => 'provider1']);
        $fields = self::fields($message);
        self::assertSame($message['message_id'], $fields['message_id']);
        self::assertSame(['A & B', sprintf('%032x', 2)], [$fields['message_body'], $fields['auth']['member_id']]);
        self::update($portal, 'm1');
        self::assertSame([], $portal->messages($host));
        self::assertSame([], $portal->history($host));
        self::assertSame([], $portal->senders($host));
        self::assertSame(['' => ['provider1|m1' => 'sent']], $portal->allMessages());
        self::assertSame('application-p2-0000000000000001', $portal->tokens($host)['application_token']);
    }

    public function testAProviderFindsEveryPortal(): void
    {
        $portal = Portal::fresh();
        self::assertSame([
            'rate_limit' => 'off',
            'client_id' => $portal->clientId,
            'client_secret' => $portal->clientSecret,
            'oauth_url' => "https://oauth.bitrix24.test:{$portal->oauthPort}",
            'ca_file' => $portal->caFile,
            'proxy' => 'none',
            'resolve' => ["*:{$portal->httpsPort}:127.0.0.1", "*:{$portal->oauthPort}:127.0.0.1"],
        ], $portal->providerOptions(['rate_limit' => 'off']));
    }

    /**
     * @return array<string, array{callable(Portal): mixed, string}>
     */
    public static function mistakes(): array
    {
        return [
            'a setting' => [static fn (Portal $portal) => $portal->set(['colour' => 'red']), 'colour'],
            'a fault' => [static fn (Portal $portal) => $portal->fault('explode'), 'explode'],
            'a command' => [static fn (Portal $portal) => $portal->ask('GET', '/colour'), 'no such command'],
        ];
    }

    /**
     * @dataProvider mistakes
     * @param callable(Portal): mixed $mistake
     */
    public function testAMistakeIsTold(callable $mistake, string $told): void
    {
        $portal = Portal::fresh();
        $this->expectException(PortalException::class);
        $this->expectExceptionMessage($told);
        $mistake($portal);
    }

    public function testItEndsWhenItIsClosed(): void
    {
        $portal = new Portal(['messages' => []]);
        self::assertSame('ERROR_MESSAGE_NOT_FOUND', self::update($portal, 'm1'));
        self::assertFileExists($portal->caFile);
        $portal->close();
        $portal->close();
        clearstatcache();
        self::assertFileDoesNotExist($portal->caFile);
        $this->expectException(PortalException::class);
        $this->expectExceptionMessage('GET /seen');
        $portal->seen();
    }

    public function testTheProgramIsTheOneThatIsNamed(): void
    {
        $before = getenv('B24_PORTAL_BIN');
        putenv('B24_PORTAL_BIN=/nowhere/b24-portal');
        try {
            self::assertSame('/nowhere/b24-portal', Portal::findProgram());
            $this->expectException(PortalException::class);
            $this->expectExceptionMessage('/nowhere/b24-portal cannot be started: it is not a program');
            new Portal();
        } finally {
            putenv($before === false ? 'B24_PORTAL_BIN' : "B24_PORTAL_BIN=$before");
        }
    }

    public function testAProgramThatIsNoEmulatorIsTold(): void
    {
        $this->expectException(PortalException::class);
        $this->expectExceptionMessage('ended before it was ready');
        new Portal([], '/bin/true');
    }

    public function testTheFirstOnPathIsFound(): void
    {
        $before = ['B24_PORTAL_BIN' => getenv('B24_PORTAL_BIN'), 'PATH' => getenv('PATH')];
        $directory = sys_get_temp_dir() . '/b24-portal-php-' . bin2hex(random_bytes(8));
        mkdir($directory);
        symlink(PHP_BINARY, "$directory/b24-portal");
        try {
            putenv('B24_PORTAL_BIN');
            putenv("PATH=/nowhere:$directory");
            self::assertSame("$directory/b24-portal", Portal::findProgram());
            putenv('PATH=/nowhere');
            $this->expectException(PortalException::class);
            $this->expectExceptionMessage('there is no b24-portal');
            Portal::findProgram();
        } finally {
            foreach ($before as $name => $value) {
                putenv($value === false ? $name : "$name=$value");
            }
            unlink("$directory/b24-portal");
            rmdir($directory);
        }
    }
}
