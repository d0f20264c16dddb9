<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Exception\PortalError;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * Senders, and the status of a message: what the methods take, return and refuse. What becomes of calls whose
 * answer is lost is the scenario table's business.
 */
final class SendersTest extends TestCase
{
    private const HANDLER = 'https://provider.example.com/send';

    public function testASenderComesChangesAndGoes(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $client->senderAdd('provider1', self::HANDLER, 'One', ['en' => 'SMS', 'de' => 'Kurznachrichten']);
        self::assertEquals(
            ['provider1' => [
                'type' => 'SMS',
                'handler' => self::HANDLER,
                'name' => 'One',
                'description' => ['de' => 'Kurznachrichten', 'en' => 'SMS'],
            ]],
            $portal->senders()
        );
        $client->senderUpdate('provider1', name: ['en' => 'Two']);
        $kept = $portal->senders()['provider1'];
        self::assertSame([['en' => 'Two'], self::HANDLER], [$kept['name'], $kept['handler']]);
        self::assertSame(['provider1'], $client->senderList());
        $client->senderDelete('provider1');
        self::assertSame([], $client->senderList());
    }

    public function testArgumentsCanBeNamed(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $client->senderAdd(code: 'provider1', handler: self::HANDLER, name: 'One', description: 'SMS', type: 'SMS');
        $client->senderUpdate(
            code: 'provider1',
            handler: self::HANDLER . '2',
            name: 'Two',
            description: ['en' => 'Text']
        );
        self::assertEquals(
            ['provider1' => [
                'type' => 'SMS',
                'handler' => self::HANDLER . '2',
                'name' => 'Two',
                'description' => ['en' => 'Text'],
            ]],
            $portal->senders()
        );
        $client->senderDelete(code: 'provider1');
        $this->expectException(MessageNotFound::class);
        $client->messageStatusGet(messageId: 1);
    }

    /**
     * @return array<string, array{list<mixed>, string}>
     */
    public static function badSenders(): array
    {
        return [
            'empty code' => [['', self::HANDLER, 'One'], 'code'],
            'wrong code' => [['pro vider', self::HANDLER, 'One'], 'code'],
            'NUL in the code' => [["provider1\0", self::HANDLER, 'One'], 'code contains a NUL'],
            'code that is not UTF-8' => [["\xff", self::HANDLER, 'One'], 'code is not UTF-8'],
            'handler that is no address' => [['provider1', 'provider.example.com', 'One'], 'handler'],
            'NUL in the handler' => [['provider1', self::HANDLER . "\0", 'One'], 'handler contains a NUL'],
            'blank name' => [['provider1', self::HANDLER, ' '], 'name'],
            'no name' => [['provider1', self::HANDLER, []], 'name'],
            'NUL in the name' => [['provider1', self::HANDLER, ['en' => "a\0b"]], 'name contains a NUL'],
            'NUL in a language' => [['provider1', self::HANDLER, ["e\0n" => 'a']], 'language of name contains a NUL'],
            'name that is not UTF-8' => [['provider1', self::HANDLER, "\xff"], 'UTF-8'],
            'no languages' => [['provider1', self::HANDLER, ['One', 'Two']], 'language'],
            'text that is a number' => [['provider1', self::HANDLER, ['en' => 7]], 'name in "en" is a int'],
            'text that is null' => [['provider1', self::HANDLER, ['en' => null]], 'name in "en" is a null'],
            'blank type' => [['provider1', self::HANDLER, 'One', null, ''], 'type'],
        ];
    }

    /**
     * @dataProvider badSenders
     * @param list<mixed> $arguments
     */
    public function testABadSenderIsRefusedBeforeAnythingIsSent(array $arguments, string $told): void
    {
        $portal = Portal::fresh();
        try {
            $portal->client()->senderAdd(...$arguments);
            self::fail('it was taken');
        } catch (InvalidArgument $error) {
            self::assertStringContainsString($told, $error->getMessage());
        }
        self::assertSame(0, $portal->seen()['requests']);
    }

    /**
     * @return array<string, array{\Closure(Client): mixed, string}>
     */
    public static function otherBadCalls(): array
    {
        return [
            'update of nothing' => [static fn ($client) => $client->senderUpdate('provider1'), 'nothing to change'],
            'update to a bad handler' => [static fn ($client) => $client->senderUpdate('provider1', 'x'), 'handler'],
            'delete without a code' => [static fn ($client) => $client->senderDelete(''), 'code'],
            'delete with a NUL' => [static fn ($client) => $client->senderDelete("provider1\0"), 'NUL'],
            'message 0' => [static fn ($client) => $client->messageStatusGet(0), 'message id'],
            'message -1' => [static fn ($client) => $client->messageStatusGet(-1), 'message id -1 is negative'],
        ];
    }

    /**
     * @dataProvider otherBadCalls
     * @param \Closure(Client): mixed $call
     */
    public function testABadCallIsRefusedBeforeAnythingIsSent(\Closure $call, string $told): void
    {
        $portal = Portal::fresh(['senders' => ['provider1']]);
        try {
            $call($portal->client());
            self::fail('it was taken');
        } catch (InvalidArgument $error) {
            self::assertStringContainsString($told, $error->getMessage());
        }
        self::assertSame(0, $portal->seen()['requests']);
    }

    public function testThePortalsRefusalsAreThrown(): void
    {
        $client = Portal::fresh(['senders' => ['provider1']])->client();
        $calls = [
            'ERROR_SENDER_ALREADY_INSTALLED' => fn () => $client->senderAdd('provider1', self::HANDLER, 'One'),
            'ERROR_SENDER_NOT_FOUND' => fn () => $client->senderDelete('provider2'),
        ];
        foreach ($calls as $code => $call) {
            try {
                $call();
                self::fail('it was taken');
            } catch (PortalError $error) {
                self::assertSame($code, $error->portalCode());
            }
        }
    }

    public function testAListHasEverySender(): void
    {
        $codes = array_map(static fn (int $number): string => "provider$number", range(1, 100));
        self::assertSame($codes, Portal::fresh(['senders' => $codes])->client()->senderList());
    }

    public function testTheStatusOfAMessageIsItsEnglishName(): void
    {
        $statuses = ['7' => 'Delivered', '8' => '', PHP_INT_MAX => 'Sent'];
        $client = Portal::fresh(['message_statuses' => $statuses])->client();
        self::assertSame('Delivered', $client->messageStatusGet(7));
        self::assertSame('', $client->messageStatusGet(8));
        self::assertSame('Sent', $client->messageStatusGet(PHP_INT_MAX));
        $this->expectException(MessageNotFound::class);
        $client->messageStatusGet(9);
    }
}
