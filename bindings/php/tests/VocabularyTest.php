<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Status;
use B24\MessageService\Vocabulary;
use PHPUnit\Framework\TestCase;

final class VocabularyTest extends TestCase
{
    public function testEachNamedOneKnowsItsWords(): void
    {
        self::assertSame(Status::Delivered, (new Vocabulary('smpp'))->status('DELIVRD'));
        self::assertSame(Status::Delivered, (new Vocabulary('smpp'))->status(' delivrd '));
        self::assertSame(Status::Delivered, (new Vocabulary('smpp'))->status(2));
        self::assertSame(Status::Delivered, (new Vocabulary('gsm'))->status('0x00'));
        self::assertSame(Status::Queued, (new Vocabulary('twilio'))->status('queued'));
    }

    public function testATableHasItsOwnWordsAlone(): void
    {
        $own = new Vocabulary('smpp', ['OK' => 'delivered', 7 => Status::Failed, 'wait' => 'QUEUED']);
        self::assertSame(Status::Delivered, $own->status('ok'));
        self::assertSame(Status::Failed, $own->status('7'));
        self::assertSame(Status::Queued, $own->status('wait'));
        $this->expectException(InvalidArgument::class);
        $own->status('DELIVRD');
    }

    /**
     * @return array<string, array{\Closure(): mixed, string}>
     */
    public static function faults(): array
    {
        return [
            'unknown name' => [static fn () => new Vocabulary('smpps'), 'smpps'],
            'NUL in the name' => [static fn () => new Vocabulary("smpp\0"), 'name contains a NUL'],
            'unknown word' => [static fn () => (new Vocabulary('smpp'))->status('LOST'), 'LOST'],
            'NUL in the word' => [static fn () => (new Vocabulary('smpp'))->status("DELIVRD\0"), 'word contains a NUL'],
            'word that is not UTF-8' => [static fn () => (new Vocabulary('smpp'))->status("\xff"), 'UTF-8'],
            'no status' => [static fn () => new Vocabulary('mine', ['OK' => 'arrived']), 'arrived'],
            'status that is an int' => [static fn () => new Vocabulary('mine', ['OK' => 1]), 'status of OK is a int'],
            'NUL in a word' => [static fn () => new Vocabulary('mine', ["O\0K" => 'sent']), 'word contains a NUL'],
        ];
    }

    /**
     * @dataProvider faults
     * @param \Closure(): mixed $call
     */
    public function testWhatItDoesNotKnowIsNamedAndNotGuessed(\Closure $call, string $told): void
    {
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage($told);
        $call();
    }

    public function testItIsNeitherSerializedNorCloned(): void
    {
        $vocabulary = new Vocabulary('smpp');
        self::assertStringContainsString('smpp', print_r($vocabulary, true));
        try {
            serialize($vocabulary);
            self::fail('it was serialized');
        } catch (\LogicException $refused) {
            self::assertStringContainsString('memory of the library', $refused->getMessage());
        }
        $this->expectException(\Error::class);
        clone $vocabulary;
    }
}
